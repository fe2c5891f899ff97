/* Stands in for libcuda.so.1 and libnvidia-ml.so.1 of a machine with two cards, of which CUDA counts the second first.
 * -DOLD: a driver and a card of before energy counters and of the older names. */
#include <stdlib.h>
#include <string.h>

typedef int status;
typedef struct card {
    char const* bus;
}* device;
static struct card cards[2] = {{"0000:17:00.0"}, {"0000:65:00.0"}};
enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, NO_DEVICE = 100 };

/* The CUDA driver */
status cuInit(unsigned flags)
{
    return getenv("FAKE_NO_DEVICE") ? NO_DEVICE : OK;
}
status cuDriverGetVersion(int* version)
{
    *version = 13000;
    return OK;
}
status cuDeviceGetCount(int* count)
{
    *count = 2;
    return OK;
}
status cuDeviceGet(int* out, int index)
{
    *out = index;
    return OK;
}
status cuDeviceGetName(char* name, int length, int which)
{
    strncpy(name, "Fake RTX", length);
    return OK;
}
status cuDeviceTotalMem_v2(size_t* bytes, int which)
{
    *bytes = 24ul << 30;
    return OK;
}
status cuDeviceGetAttribute(int* value, int attribute, int which)
{
    *value = attribute == 75 ? 8 : 6;
    return OK;
}
status cuGetErrorName(int code, char const** name)
{
    *name = "CUDA_ERROR_NO_DEVICE";
    return OK;
}
status cuDeviceGetPCIBusId(char* text, int length, int which)
{
    strncpy(text, cards[1 - which].bus, length);
    return OK;
}

/* NVML: every figure tells the card that was asked, so that the other one would be seen. */
static int is_second(device card)
{
    return card == &cards[1];
}
status nvmlInitWithFlags(unsigned flags)
{
    return OK;
}
status nvmlShutdown(void)
{
    return OK;
}
char const* nvmlErrorString(status code)
{
    return code == NOT_SUPPORTED ? "Not Supported" : "Unknown";
}
status nvmlSystemGetNVMLVersion(char* text, unsigned length)
{
    strncpy(text, "13.580.65.06", length);
    return OK;
}
status nvmlSystemGetDriverVersion(char* text, unsigned length)
{
    strncpy(text, "580.65.06", length);
    return OK;
}
status nvmlDeviceGetHandleByPciBusId_v2(char const* bus, device* out)
{
    for (int i = 0; i < 2; ++i)
        if (!strcmp(bus, cards[i].bus)) {
            *out = &cards[i];
            return OK;
        }
    return NOT_FOUND;
}
status nvmlDeviceGetPowerUsage(device card, unsigned* milliwatts)
{
    *milliwatts = is_second(card) ? 123456 : 1;
    return OK;
}
status nvmlDeviceGetTemperature(device card, int sensor, unsigned* value)
{
    *value = is_second(card) && sensor == 0 ? 66 : 1;
    return OK;
}
status nvmlDeviceGetClockInfo(device card, int type, unsigned* mhz)
{
    *mhz = type == 1 ? 1905 : type == 2 ? 9501 : 1;
    return is_second(card) ? OK : NOT_FOUND;
}
struct memory {
    unsigned long long total, free, used;
};
status nvmlDeviceGetMemoryInfo(device card, struct memory* memory)
{
    memory->total = 24ull << 30;
    memory->used = 5ull << 30;
    memory->free = memory->total - memory->used;
    return OK;
}
status nvmlDeviceGetCurrentClocksThrottleReasons(device card, unsigned long long* reasons)
{
    *reasons = 0x1 | 0x4 | 0x20; /* idle, which is no throttling; power cap; thermal */
    return OK;
}
status nvmlDeviceGetEnforcedPowerLimit(device card, unsigned* milliwatts)
{
    *milliwatts = 300000;
    return OK;
}
status nvmlDeviceGetPowerManagementDefaultLimit(device card, unsigned* milliwatts)
{
    *milliwatts = 350000;
    return OK;
}
#ifdef OLD
status nvmlDeviceGetTotalEnergyConsumption(device card, unsigned long long* millijoules)
{
    return NOT_SUPPORTED;
}
#else
status nvmlDeviceGetTotalEnergyConsumption(device card, unsigned long long* millijoules)
{
    *millijoules = is_second(card) ? 987654321 : 1;
    return OK;
}
status nvmlDeviceGetCurrentClocksEventReasons(device card, unsigned long long* reasons)
{
    *reasons = 0x1 | 0x2 | 0x40;
    return OK;
}
struct temperature {
    unsigned version;
    int sensor, value;
};
status nvmlDeviceGetTemperatureV(device card, struct temperature* temperature)
{
    temperature->value = 67;
    return OK;
}
status nvmlDeviceGetMigMode(device card, unsigned* current, unsigned* pending)
{
    *current = *pending = getenv("FAKE_MIG") != 0;
    return OK;
}
#endif
