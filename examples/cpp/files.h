// Files: read at once, written under a temporary name and renamed when they are whole, and their SHA-256.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace ccdeploy {

using Bytes = std::vector<unsigned char>;

// Throws InputError, with `remedy`, if the file cannot be read.
Bytes read_file(std::filesystem::path const& path, std::string const& remedy);

// Calls `write` with a temporary name beside `path`, then renames that file. Nothing is left behind if `write` throws.
void write_whole(std::filesystem::path const& path, std::function<void(std::filesystem::path const&)> const& write);

// SHA-256 of FIPS 180-4, in hexadecimal.
std::string sha256(Bytes const& content);

} // namespace ccdeploy
