// ccdeploy_segment ENGINE PICTURE -o OUT.png: segments a picture with an engine that `ccdeploy build-engine` made, and
// says how long that took. What was built for another machine is refused before TensorRT sees it.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "cuda.h"
#include "engine.h"
#include "errors.h"
#include "manifest.h"
#include "picture.h"
#include "segmentation.h"

namespace {

using namespace ccdeploy;
namespace fs = std::filesystem;

constexpr char const* kUsage = R"(usage: ccdeploy_segment ENGINE PICTURE -o OUT.png [options]

Segments a PNG or JPEG picture with a TensorRT engine, whose manifest lies beside it.

  -o FILE         the picture with its classes laid over it, as PNG
  --mask FILE     the number of each pixel's class, as PNG of one channel
  --plugin FILE   the plugin library; by default the one beside the engine
  --runs N        timed inferences, 1 to 100000; 50 by default, after 10 that do not count
  --help          this text

Exit codes: 0 done; 2 wrong usage or input; 3 this machine lacks what the engine needs.
)";
constexpr char const* kSeeHelp = "`ccdeploy_segment --help` lists what it takes.";
constexpr int kWarmUp = 10, kMostRuns = 100000;
constexpr size_t kMostClasses = 256; // a class is a byte

struct Options {
    fs::path engine, picture, out, mask, plugin;
    int runs = 50;
    bool help = false;
};

int parse_runs(std::string const& text)
{
    int runs = 0;
    auto const [end, failure] = std::from_chars(text.data(), text.data() + text.size(), runs);
    if (failure != std::errc() || end != text.data() + text.size() || runs < 1 || runs > kMostRuns)
        throw InputError("--runs is '" + text + "', a whole number from 1 to " + std::to_string(kMostRuns) +
                             " was expected.",
                         kSeeHelp);
    return runs;
}

Options parse(std::vector<std::string> const& arguments)
{
    Options options;
    std::vector<fs::path*> places = {&options.picture, &options.engine}; // the next one last
    for (size_t i = 0; i < arguments.size(); ++i) {
        std::string const& argument = arguments[i];
        auto const value = [&]() -> std::string const& {
            if (i + 1 == arguments.size() || arguments[i + 1].empty())
                throw InputError(argument + " was given without its value.", kSeeHelp);
            return arguments[++i];
        };
        if (argument == "--help" || argument == "-h")
            options.help = true;
        else if (argument == "-o")
            options.out = value();
        else if (argument == "--mask")
            options.mask = value();
        else if (argument == "--plugin")
            options.plugin = value();
        else if (argument == "--runs")
            options.runs = parse_runs(value());
        else if (argument.empty() || argument[0] == '-' || places.empty())
            throw InputError("'" + argument + "' was not expected.", kSeeHelp);
        else {
            *places.back() = argument;
            places.pop_back();
        }
    }
    if (!options.help && (!places.empty() || options.out.empty()))
        throw InputError("ENGINE, PICTURE and -o OUT.png were expected.", kSeeHelp);
    return options;
}

// Fills every slot of the batch with the picture: the engine computes all of them, whatever they hold.
void fill(Engine& engine, Manifest const& manifest, Picture const& picture)
{
    for (int64_t slot = 0; slot < manifest.input.size('N'); ++slot) {
        size_t const offset = static_cast<size_t>(slot) * picture.values.size();
        if (manifest.takes_image)
            fill_image(picture, static_cast<uint8_t*>(engine.input()) + offset);
        else
            fill_tensor(picture, manifest, static_cast<float*>(engine.input()) + offset);
    }
}

[[noreturn]] void refuse_classes(std::string const& seen, size_t expected)
{
    throw InputError("The engine gives " + seen + ", " + std::to_string(expected) + " classes were expected.",
                     "The card's classes are not the network's: correct the card, export and build again.");
}

// The class of each pixel of a picture of this size, from the first slot of the output; and what the classes are.
std::pair<Picture, std::vector<ClassInfo>> read_classes(Engine const& engine, Manifest const& manifest, int height,
                                                        int width)
{
    std::vector<int64_t> const& shape = engine.output_shape();
    int const h = static_cast<int>(shape[shape.size() - 2]), w = static_cast<int>(shape[shape.size() - 1]);
    size_t const known = manifest.classes.empty() ? kMostClasses : manifest.classes.size();
    if (manifest.takes_image) {
        auto const* const labels = static_cast<uint8_t const*>(engine.output());
        Picture classes = classes_of_labels(labels, h, w, height, width);
        size_t const largest = *std::max_element(classes.values.begin(), classes.values.end());
        if (largest >= known)
            refuse_classes("class " + std::to_string(largest), known);
        return {std::move(classes), class_table(manifest, largest + 1)};
    }
    auto const count = static_cast<size_t>(shape[1]);
    if (count > kMostClasses || (!manifest.classes.empty() && count != known))
        refuse_classes(std::to_string(count) + " classes", known);
    auto const* const logits = static_cast<float const*>(engine.output());
    return {classes_of_logits(logits, shape[1], h, w, manifest.align_corners, height, width),
            class_table(manifest, count)};
}

// The classes that the picture has and their shares of its pixels, the largest first.
void print_shares(Picture const& classes, std::vector<ClassInfo> const& table)
{
    std::vector<size_t> counts(table.size()), order;
    for (uint8_t const label : classes.values)
        ++counts[label];
    for (size_t label = 0; label < table.size(); ++label)
        if (counts[label] != 0)
            order.push_back(label);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return counts[a] > counts[b]; });
    for (size_t const label : order)
        std::printf("%8.2f%%  %s\n",
                    100.0 * static_cast<double>(counts[label]) / static_cast<double>(classes.values.size()),
                    table[label].name.c_str());
}

void segment(Options const& options)
{
    Manifest const manifest = read_manifest(options.engine);
    Picture const picture = read_picture(options.picture);
    Gpu const gpu = open_gpu();
    check_runs_here(manifest, gpu);
    fs::path const plugin = load_plugin(manifest, options.engine, options.plugin);
    Engine engine(manifest, read_engine_file(options.engine, manifest));

    int const height = static_cast<int>(manifest.input.size('H')), width = static_cast<int>(manifest.input.size('W'));
    int64_t const batch = manifest.input.size('N');
    fill(engine, manifest, resized(picture, height, width));
    Times const times = engine.measure(kWarmUp, options.runs);

    auto const [classes, table] = read_classes(engine, manifest, picture.height, picture.width);
    write_png(overlay(picture, classes, table), options.out);
    if (!options.mask.empty())
        write_png(classes, options.mask);

    std::printf("engine   %s: %s, %s\n", options.engine.c_str(), manifest.model.c_str(), manifest.types.c_str());
    std::printf("runs on  %s (compute capability %s), %s %s\n", gpu.name.c_str(), gpu.compute_capability.c_str(),
                manifest.flavour.c_str(), tensorrt_version().c_str());
    if (!plugin.empty())
        std::printf("plugin   %s (sha256 %.16s...)\n", plugin.c_str(), manifest.plugin->sha256.c_str());
    std::printf("picture  %s: %dx%d, run as %dx%d\n", options.picture.c_str(), picture.width, picture.height, width,
                height);
    if (manifest.windows)
        std::printf("note     the figures of this network's card are of windows; the picture was run whole\n");
    std::string const boundary = batch > 1 ? "on the device, a batch of " + std::to_string(batch) : "on the device";
    std::printf("time     %.3f ms host to host, %.3f ms %s (median of %d after %d)\n", times.host_to_host,
                times.on_device, boundary.c_str(), options.runs, kWarmUp);
    std::printf("wrote    %s%s%s\n", options.out.c_str(), options.mask.empty() ? "" : ", ", options.mask.c_str());
    print_shares(classes, table);
}

int report(Error const& error)
{
    std::cerr << "error: " << error.what() << "\n       " << error.remedy() << '\n';
    return error.exit_code();
}

} // namespace

int main(int count, char** arguments)
{
    try {
        Options const options = parse(std::vector<std::string>(arguments + 1, arguments + count));
        if (options.help)
            std::fputs(kUsage, stdout);
        else
            segment(options);
        return kDone;
    } catch (Error const& error) {
        return report(error);
    } catch (std::bad_alloc const&) {
        return report(MissingError("There is not enough memory.", "Free some, or use a smaller engine or picture."));
    } catch (std::exception const& error) {
        return report(Error(kDefect, std::string("a defect of ccdeploy_segment: ") + error.what(),
                            "Report it with the command that shows it."));
    }
}
