// PNG by libpng's simplified interface, which needs no longjmp.
#include <png.h>

#include <string>

#include "errors.h"
#include "picture.h"

namespace ccdeploy {
namespace {

// The interface's own structure, freed also where an error ends the work.
struct Image : png_image {
    Image()
        : png_image{}
    {
        version = PNG_IMAGE_VERSION;
    }
    ~Image()
    {
        png_image_free(this);
    }
    Image(Image const&) = delete;
    Image& operator=(Image const&) = delete;

    void check(bool done, std::filesystem::path const& path, char const* verb) const
    {
        if (!done)
            throw InputError(path.string() + " cannot be " + verb + ": " + message + ".",
                             "Check the file, and the space left.");
    }
};

} // namespace

Picture decode_png(Bytes const& content, std::filesystem::path const& path)
{
    Image image;
    image.check(png_image_begin_read_from_memory(&image, content.data(), content.size()), path, "read");
    check_size(image.height, image.width, path);
    if (image.format & PNG_FORMAT_FLAG_LINEAR)
        throw InputError(path.string() + " has 16 bits a channel, 8 were expected.", "Convert it.");
    // With alpha, so that libpng leaves the colours of transparent pixels as they are.
    image.format = PNG_FORMAT_RGBA;
    Picture full(static_cast<int>(image.height), static_cast<int>(image.width), 4);
    image.check(png_image_finish_read(&image, nullptr, full.values.data(), 0, nullptr), path, "read");

    Picture picture(full.height, full.width, 3);
    for (size_t i = 0, j = 0; j < picture.values.size(); i += 4, j += 3)
        std::copy_n(full.values.data() + i, 3, picture.values.data() + j);
    return picture;
}

void write_png(Picture const& picture, std::filesystem::path const& path)
{
    write_whole(path, [&](std::filesystem::path const& temporary) {
        Image image;
        image.width = static_cast<png_uint_32>(picture.width);
        image.height = static_cast<png_uint_32>(picture.height);
        image.format = picture.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
        image.check(png_image_write_to_file(&image, temporary.c_str(), 0, picture.values.data(), 0, nullptr), path,
                    "written");
    });
}

} // namespace ccdeploy
