#include "segmentation.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace ccdeploy {
namespace {

// Between which two source pixels a target pixel lies, and the second's weight.
struct Neighbours {
    size_t first, second;
    float weight;
};

std::vector<Neighbours> neighbours(int source, int target, bool align_corners)
{
    double const step = !align_corners ? static_cast<double>(source) / target
                        : target > 1   ? static_cast<double>(source - 1) / (target - 1)
                                       : 0.0;
    std::vector<Neighbours> list;
    for (int i = 0; i < target; ++i) {
        double const place = align_corners ? i * step : std::max(0.0, (i + 0.5) * step - 0.5);
        int const first = std::min(static_cast<int>(place), source - 1);
        list.push_back({static_cast<size_t>(first), static_cast<size_t>(std::min(first + 1, source - 1)),
                        static_cast<float>(place - first)});
    }
    return list;
}

float between(float first, float second, float weight)
{
    return first + weight * (second - first);
}

} // namespace

Picture resized(Picture const& picture, int height, int width)
{
    if (picture.height == height && picture.width == width)
        return picture;
    auto const rows = neighbours(picture.height, height, false), columns = neighbours(picture.width, width, false);
    Picture result(height, width, picture.channels);
    uint8_t* target = result.values.data();
    size_t const channels = static_cast<size_t>(picture.channels);
    for (Neighbours const& row : rows) {
        uint8_t const* const above = picture.at(static_cast<int>(row.first), 0);
        uint8_t const* const below = picture.at(static_cast<int>(row.second), 0);
        for (Neighbours const& column : columns)
            for (size_t channel = 0; channel < channels; ++channel) {
                size_t const left = column.first * channels + channel, right = column.second * channels + channel;
                float const value = between(between(above[left], above[right], column.weight),
                                            between(below[left], below[right], column.weight), row.weight);
                *target++ = static_cast<uint8_t>(std::lrint(value)); // between 0 and 255, as all four are
            }
    }
    return result;
}

void fill_image(Picture const& picture, uint8_t* input)
{
    std::copy(picture.values.begin(), picture.values.end(), input);
}

void fill_tensor(Picture const& picture, Manifest const& manifest, float* input)
{
    size_t const pixels = picture.values.size() / 3;
    for (size_t channel = 0; channel < 3; ++channel) {
        uint8_t const* source = picture.values.data() + (manifest.bgr ? 2 - channel : channel);
        for (size_t i = 0; i < pixels; ++i, source += 3)
            *input++ = (*source - manifest.mean[channel]) / manifest.deviation[channel];
    }
}

Picture classes_of_logits(float const* logits, int64_t classes, int h, int w, bool align_corners, int height, int width)
{
    auto const rows = neighbours(h, height, align_corners), columns = neighbours(w, width, align_corners);
    Picture result(height, width, 1);
    size_t const stride = static_cast<size_t>(w), plane = static_cast<size_t>(h) * stride;
    std::vector<float> best(static_cast<size_t>(width));
    for (int y = 0; y < height; ++y) {
        Neighbours const& row = rows[static_cast<size_t>(y)];
        uint8_t* const labels = result.at(y, 0);
        // Class by class, so that the logits are read in the order in which they lie.
        for (int64_t label = 0; label < classes; ++label) {
            float const* const above = logits + static_cast<size_t>(label) * plane + row.first * stride;
            float const* const below = logits + static_cast<size_t>(label) * plane + row.second * stride;
            for (size_t x = 0; x < best.size(); ++x) {
                Neighbours const& column = columns[x];
                float const left = between(above[column.first], below[column.first], row.weight);
                float const right = between(above[column.second], below[column.second], row.weight);
                float const value = between(left, right, column.weight);
                if (label == 0 || value > best[x]) {
                    best[x] = value;
                    labels[x] = static_cast<uint8_t>(label);
                }
            }
        }
    }
    return result;
}

Picture classes_of_labels(uint8_t const* labels, int h, int w, int height, int width)
{
    Picture result(height, width, 1);
    for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x) {
            int64_t const row = (2 * y + 1) * h / (2 * height), column = (2 * x + 1) * w / (2 * width);
            *result.at(static_cast<int>(y), static_cast<int>(x)) = labels[row * w + column];
        }
    return result;
}

std::vector<ClassInfo> class_table(Manifest const& manifest, size_t classes)
{
    std::vector<ClassInfo> table = manifest.classes;
    for (size_t i = table.size(); i < classes; ++i) {
        auto const grey = static_cast<uint8_t>(255 * i / std::max<size_t>(1, classes - 1));
        table.push_back({"class " + std::to_string(i), {grey, grey, grey}});
    }
    return table;
}

Picture overlay(Picture const& picture, Picture const& classes, std::vector<ClassInfo> const& table)
{
    Picture result = picture;
    for (size_t i = 0; i < classes.values.size(); ++i)
        for (size_t channel = 0; channel < 3; ++channel) {
            uint8_t& value = result.values[3 * i + channel];
            value = static_cast<uint8_t>((value + table[classes.values[i]].color[channel]) / 2);
        }
    return result;
}

} // namespace ccdeploy
