#include "files.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <system_error>

#include "errors.h"

namespace ccdeploy {
namespace {

constexpr std::array<uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
constexpr size_t kBlock = 64;

uint32_t rotate_right(uint32_t value, int count)
{
    return value >> count | value << (32 - count);
}

void add_block(std::array<uint32_t, 8>& state, unsigned char const* block)
{
    std::array<uint32_t, 64> words;
    for (size_t i = 0; i < 16; ++i)
        words[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 | uint32_t{block[4 * i + 2]} << 8 |
                   uint32_t{block[4 * i + 3]};
    for (size_t i = 16; i < 64; ++i) {
        uint32_t const near = words[i - 2], far = words[i - 15];
        words[i] = words[i - 16] + words[i - 7] + (rotate_right(far, 7) ^ rotate_right(far, 18) ^ far >> 3) +
                   (rotate_right(near, 17) ^ rotate_right(near, 19) ^ near >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (size_t i = 0; i < 64; ++i) {
        uint32_t const first = h + (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) +
                               ((e & f) ^ (~e & g)) + kRound[i] + words[i];
        uint32_t const second =
            (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + first;
        d = c, c = b, b = a, a = first + second;
    }
    std::array<uint32_t, 8> const mixed = {a, b, c, d, e, f, g, h};
    for (size_t i = 0; i < state.size(); ++i)
        state[i] += mixed[i];
}

} // namespace

Bytes read_file(std::filesystem::path const& path, std::string const& remedy)
{
    std::error_code failure;
    uintmax_t const size = std::filesystem::file_size(path, failure); // fails for a folder as well
    Bytes content(failure ? 0 : size);
    if (!failure) {
        std::ifstream file(path, std::ios::binary);
        if (!file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(size)))
            failure = std::error_code(errno, std::generic_category());
    }
    if (failure)
        throw InputError(path.string() + " cannot be read: " + failure.message() + ".", remedy);
    return content;
}

void write_whole(std::filesystem::path const& path, std::function<void(std::filesystem::path const&)> const& write)
{
    std::filesystem::path temporary = path;
    temporary += "." + std::to_string(getpid()) + ".part";
    std::error_code ignored;
    try {
        write(temporary);
        std::filesystem::rename(temporary, path);
    } catch (std::filesystem::filesystem_error const& error) {
        std::filesystem::remove(temporary, ignored);
        throw InputError(path.string() + " cannot be written: " + error.code().message() + ".", "Name another file.");
    } catch (...) {
        std::filesystem::remove(temporary, ignored);
        throw;
    }
}

std::string sha256(Bytes const& content)
{
    std::array<uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    size_t const whole = content.size() / kBlock * kBlock;
    for (size_t i = 0; i < whole; i += kBlock)
        add_block(state, content.data() + i);

    // The rest, one bit 1, zeros, and the length in bits: one block, or two where the length does not fit the first.
    Bytes rest(content.begin() + static_cast<std::ptrdiff_t>(whole), content.end());
    rest.push_back(0x80);
    rest.resize(rest.size() + 8 <= kBlock ? kBlock : 2 * kBlock);
    for (size_t i = 0; i < 8; ++i)
        rest[rest.size() - 1 - i] = static_cast<unsigned char>(uint64_t{content.size()} * 8 >> 8 * i);
    for (size_t i = 0; i < rest.size(); i += kBlock)
        add_block(state, rest.data() + i);

    std::string text;
    for (uint32_t const word : state) {
        char digits[9];
        std::snprintf(digits, sizeof digits, "%08x", word);
        text += digits;
    }
    return text;
}

} // namespace ccdeploy
