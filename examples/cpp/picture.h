// Pictures: PNG and JPEG files in, PNG files out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "files.h"

namespace ccdeploy {

// [height, width, channels], 8 bits a value: red, green and blue, or one channel for classes.
struct Picture {
    int height = 0, width = 0, channels = 0;
    std::vector<uint8_t> values;

    Picture() = default;
    Picture(int height_, int width_, int channels_)
        : height(height_)
        , width(width_)
        , channels(channels_)
        , values(static_cast<size_t>(height_) * static_cast<size_t>(width_) * static_cast<size_t>(channels_))
    {
    }

    uint8_t* at(int row, int column)
    {
        return values.data() + offset(row, column);
    }
    uint8_t const* at(int row, int column) const
    {
        return values.data() + offset(row, column);
    }

private:
    size_t offset(int row, int column) const
    {
        return (static_cast<size_t>(row) * static_cast<size_t>(width) + static_cast<size_t>(column)) *
               static_cast<size_t>(channels);
    }
};

// A PNG or JPEG file as red, green and blue, upright. Transparency is left out; grey becomes three equal channels.
// Throws InputError for a file that is missing, damaged, of another kind, or has 16 bits a channel.
Picture read_picture(std::filesystem::path const& path);

// Writes a PNG file, whole or not at all.
void write_png(Picture const& picture, std::filesystem::path const& path);

// The two decoders; `path` is for errors.
Picture decode_png(Bytes const& content, std::filesystem::path const& path);
Picture decode_jpeg(Bytes const& content, std::filesystem::path const& path);

// Throws InputError for sizes that are no picture's, before memory is taken for them.
void check_size(uint64_t height, uint64_t width, std::filesystem::path const& path);

} // namespace ccdeploy
