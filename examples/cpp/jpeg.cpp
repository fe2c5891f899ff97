// JPEG by libjpeg, turned upright as the camera's EXIF data say.
#include <csetjmp>
#include <cstdio> // jpeglib.h does not include what it needs

#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <memory>
#include <string>

#include "errors.h"
#include "picture.h"

namespace ccdeploy {
namespace {

constexpr int kUpright = 1;
constexpr int kExif = JPEG_APP0 + 1;

// libjpeg reports errors by a function that must not return. It is C code, which exceptions need not pass through:
// it jumps back to `attempt`, over frames of libjpeg alone.
struct ErrorManager : jpeg_error_mgr {
    std::jmp_buf back;
    char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void leave(j_common_ptr info)
{
    auto* const manager = static_cast<ErrorManager*>(info->err);
    manager->format_message(info, manager->message);
    std::longjmp(manager->back, 1);
}

// A file that ends early is filled up with grey, and only warned of: here it is an error. Other warnings are of
// blemishes that many cameras leave.
void take_warning(j_common_ptr info, int level)
{
    if (level < 0 && (info->err->msg_code == JWRN_JPEG_EOF || info->err->msg_code == JWRN_HIT_MARKER))
        leave(info);
}

class Decoder {
public:
    explicit Decoder(std::filesystem::path const& path)
        : path_(path)
    {
        info_.err = jpeg_std_error(&errors_);
        errors_.error_exit = leave;
        errors_.emit_message = take_warning;
        attempt([&] { jpeg_create_decompress(&info_); });
    }
    ~Decoder()
    {
        jpeg_destroy_decompress(&info_);
    }
    Decoder(Decoder const&) = delete;
    Decoder& operator=(Decoder const&) = delete;

    // Does a step of calls to libjpeg. Nothing in it may own anything: an error jumps out of it.
    template <typename Step>
    void attempt(Step step)
    {
        if (setjmp(errors_.back) != 0)
            throw InputError(path_.string() + " cannot be read: " + errors_.message + ".", "Check the file.");
        step();
    }

    jpeg_decompress_struct& info()
    {
        return info_;
    }

private:
    std::filesystem::path const& path_;
    jpeg_decompress_struct info_{};
    ErrorManager errors_{};
};

// An unsigned number of `count` bytes.
uint32_t number(JOCTET const* bytes, int count, bool big_endian)
{
    uint32_t value = 0;
    for (int i = 0; i < count; ++i)
        value |= uint32_t{bytes[i]} << 8 * (big_endian ? count - 1 - i : i);
    return value;
}

// The tag "orientation" of an EXIF marker, 1 to 8; upright where there is none. The marker holds "Exif\0\0" and a TIFF
// header: byte order, 42, and where the list of tags begins, each of 12 bytes.
int orientation_of(jpeg_marker_struct const& marker)
{
    constexpr size_t kTiff = 6, kEntry = 12;
    constexpr uint32_t kOrientation = 0x0112, kShort = 3;
    size_t const size = marker.data_length;
    if (size < kTiff + 10 || !std::equal(marker.data, marker.data + kTiff, "Exif\0\0"))
        return kUpright;
    JOCTET const* const tiff = marker.data + kTiff;
    size_t const length = size - kTiff;
    bool const big_endian = tiff[0] == 'M';
    size_t const list = number(tiff + 4, 4, big_endian);
    if (list + 2 > length)
        return kUpright;
    size_t const count = number(tiff + list, 2, big_endian);
    for (size_t i = 0; i < count && list + 2 + (i + 1) * kEntry <= length; ++i) {
        JOCTET const* const entry = tiff + list + 2 + i * kEntry;
        if (number(entry, 2, big_endian) != kOrientation || number(entry + 2, 2, big_endian) != kShort)
            continue;
        uint32_t const value = number(entry + 8, 2, big_endian);
        return value >= 1 && value <= 8 ? static_cast<int>(value) : kUpright;
    }
    return kUpright;
}

// Orientations 5 to 8 swap rows and columns, then some mirror the stored rows or columns (EXIF 2.3, 4.6.4).
Picture upright(Picture const& stored, int orientation)
{
    bool const swapped = orientation >= 5;
    bool const rows_mirrored = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    bool const columns_mirrored = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    Picture picture(swapped ? stored.width : stored.height, swapped ? stored.height : stored.width, stored.channels);
    for (int row = 0; row < picture.height; ++row)
        for (int column = 0; column < picture.width; ++column) {
            int const from_row = swapped ? column : row, from_column = swapped ? row : column;
            uint8_t const* const from = stored.at(rows_mirrored ? stored.height - 1 - from_row : from_row,
                                                  columns_mirrored ? stored.width - 1 - from_column : from_column);
            std::copy_n(from, stored.channels, picture.at(row, column));
        }
    return picture;
}

} // namespace

Picture decode_jpeg(Bytes const& content, std::filesystem::path const& path)
{
    constexpr unsigned kLongestMarker = 0xffff;
    Decoder decoder(path);
    jpeg_decompress_struct& info = decoder.info();
    decoder.attempt([&] {
        jpeg_mem_src(&info, content.data(), content.size());
        jpeg_save_markers(&info, kExif, kLongestMarker);
        jpeg_read_header(&info, TRUE);
    });
    check_size(info.image_height, info.image_width, path);
    int orientation = kUpright;
    for (jpeg_saved_marker_ptr marker = info.marker_list; marker != nullptr; marker = marker->next)
        if (orientation == kUpright && marker->marker == kExif)
            orientation = orientation_of(*marker);

    Picture picture(static_cast<int>(info.image_height), static_cast<int>(info.image_width), 3);
    decoder.attempt([&] {
        info.out_color_space = JCS_RGB;
        jpeg_start_decompress(&info);
        while (info.output_scanline < info.output_height) {
            JSAMPROW row = picture.at(static_cast<int>(info.output_scanline), 0);
            jpeg_read_scanlines(&info, &row, 1);
        }
        jpeg_finish_decompress(&info);
    });
    return orientation == kUpright ? picture : upright(picture, orientation);
}

} // namespace ccdeploy
