// The errors that a user can meet: what was seen and what was expected, what to do about it, and the exit code of the
// program. The codes are those of ccdeploy's commands.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace ccdeploy {

constexpr int kDone = 0;         // the picture is segmented
constexpr int kWrongInput = 2;   // wrong usage, or a file that is missing, damaged or of another kind
constexpr int kMachineLacks = 3; // a GPU, a driver, memory, the right TensorRT or the plugin is missing
constexpr int kDefect = 70;      // what this program did not foresee (EX_SOFTWARE of sysexits.h)

class Error : public std::exception {
public:
    Error(int exit_code, std::string what, std::string remedy)
        : exit_code_(exit_code)
        , what_(std::move(what))
        , remedy_(std::move(remedy))
    {
    }

    char const* what() const noexcept override
    {
        return what_.c_str();
    }
    std::string const& remedy() const noexcept
    {
        return remedy_;
    }
    int exit_code() const noexcept
    {
        return exit_code_;
    }

private:
    int exit_code_;
    std::string what_;
    std::string remedy_;
};

struct InputError : Error {
    InputError(std::string what, std::string remedy)
        : Error(kWrongInput, std::move(what), std::move(remedy))
    {
    }
};

struct MissingError : Error {
    MissingError(std::string what, std::string remedy)
        : Error(kMachineLacks, std::move(what), std::move(remedy))
    {
    }
};

} // namespace ccdeploy
