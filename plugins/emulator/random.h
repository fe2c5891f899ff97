// Pseudo-random numbers for schedules: the same on every machine.
#pragma once

#include <cstdint>
#include <utility>

namespace ccdeploy::emulator {

class Random {
public:
    explicit Random(uint64_t seed)
        : state_(seed)
    {
    }

    // SplitMix64 (Steele, Lea and Flood, 2014).
    uint64_t next()
    {
        uint64_t z = state_ += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
    }

    int64_t below(int64_t limit)
    {
        return static_cast<int64_t>(next() % static_cast<uint64_t>(limit));
    }

    bool happens(double probability)
    {
        return static_cast<double>(next() >> 11) * 0x1p-53 < probability;
    }

    template <class T>
    void shuffle(T* values, int64_t count)
    {
        for (int64_t i = count - 1; i > 0; --i)
            std::swap(values[i], values[below(i + 1)]);
    }

private:
    uint64_t state_;
};

} // namespace ccdeploy::emulator
