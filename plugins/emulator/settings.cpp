#include "settings.h"

#include <mutex>

namespace ccdeploy::emulator {
namespace {

std::mutex mutex;
Statistics total;

} // namespace

Settings& settings()
{
    static Settings instance;
    return instance;
}

Statistics statistics()
{
    std::lock_guard<std::mutex> const lock(mutex);
    return total;
}

void add_statistics(Statistics const& more)
{
    std::lock_guard<std::mutex> const lock(mutex);
    total.launches += more.launches;
    total.blocks += more.blocks;
    total.collectives += more.collectives;
    total.multiply_adds += more.multiply_adds;
}

int shared_memory_limit(int architecture)
{
    constexpr int kKilobyte = 1024;
    switch (architecture) { // CUDA programming guide, technical specifications per compute capability
    case 75:
        return 64 * kKilobyte;
    case 80:
    case 87:
        return 163 * kKilobyte;
    case 86:
    case 89:
    case 120:
    case 121:
        return 99 * kKilobyte;
    case 90:
    case 100:
    case 103:
    case 110:
        return 227 * kKilobyte;
    default:
        return 0;
    }
}

} // namespace ccdeploy::emulator
