#include "picture.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "errors.h"

namespace ccdeploy {
namespace {

constexpr uint64_t kLargestPicture = uint64_t{1} << 27; // pixels

bool begins_with(Bytes const& content, std::initializer_list<unsigned char> magic)
{
    return content.size() >= magic.size() && std::equal(magic.begin(), magic.end(), content.begin());
}

} // namespace

Picture read_picture(std::filesystem::path const& path)
{
    Bytes const content = read_file(path, "Name a picture file.");
    if (begins_with(content, {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}))
        return decode_png(content, path);
    if (begins_with(content, {0xff, 0xd8, 0xff}))
        return decode_jpeg(content, path);
    throw InputError(path.string() + " is neither a PNG nor a JPEG file.", "Convert it.");
}

void check_size(uint64_t height, uint64_t width, std::filesystem::path const& path)
{
    if (height == 0 || width == 0 || height > kLargestPicture / width)
        throw InputError(path.string() + " has " + std::to_string(width) + "x" + std::to_string(height) +
                             " pixels, 1 to " + std::to_string(kLargestPicture) + " were expected.",
                         "Scale it down.");
}

} // namespace ccdeploy
