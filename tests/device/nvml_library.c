/* A libnvidia-ml.so.1 that answers as the environment says: the real nvidia-ml-py is tested on it where there is no GPU.

   FAKE_NVML_REFUSES="nvmlDeviceGetPowerUsage:4 ..."  functions that fail, with NVML's number of the error
   FAKE_NVML_WATTS, FAKE_NVML_STANDS_STILL            power; whether the energy counter never moves
   FAKE_NVML_THROTTLED, FAKE_NVML_MIG                 mask of reasons; MIG mode
   FAKE_NVML_PIDS="123 456", FAKE_NVML_DRAWS="456"    compute and graphics processes; FAKE_NVML_WDDM: without memory
   FAKE_NVML_CUDA="12040"                             what the driver can do
   Functions that a driver lacks are left out by -DWITHOUT_ENERGY. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define UUID "b66d2b9f-1111-2222-3333-444455556666"
enum { OK = 0, NOT_FOUND = 6, TOO_SMALL = 7 };
typedef unsigned long long u64;
typedef void *Device;
static const Device BOARD = (Device)1, SLICE = (Device)2;

static const char *said(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static int refusal(const char *function) {
    const char *at = said("FAKE_NVML_REFUSES", "");
    size_t length = strlen(function);
    for (at = strstr(at, function); at; at = strstr(at + 1, function))
        if (at[length] == ':') return atoi(at + length + 1);
    return OK;
}
#define ANSWER(type, what) { int code = refusal(__func__); if (code) return code; *(type *)out = (what); return OK; }
#define TEXT(what) { int code = refusal(__func__); if (code) return code; snprintf(out, size, "%s", what); return OK; }

int nvmlInitWithFlags(unsigned flags) { return refusal(__func__); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return "Unknown Error"; } /* the binding has its own words for those it knows */
int nvmlSystemGetDriverVersion(char *out, unsigned size) TEXT("550.54.14")
int nvmlSystemGetCudaDriverVersion(int *out) ANSWER(int, atoi(said("FAKE_NVML_CUDA", "13000")))
int nvmlDeviceGetCount_v2(unsigned *out) ANSWER(unsigned, atoi(said("FAKE_NVML_COUNT", "1")))
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *out) ANSWER(Device, BOARD)
int nvmlDeviceGetHandleByUUID(const char *uuid, Device *out) {
    if (strcmp(uuid, "GPU-" UUID) && strcmp(uuid, "MIG-" UUID)) return NOT_FOUND;
    if (!strcmp(said("FAKE_NVML_KNOWS", "GPU-" UUID), uuid)) ANSWER(Device, *uuid == 'G' ? BOARD : SLICE)
    return NOT_FOUND;
}
int nvmlDeviceGetName(Device device, char *out, unsigned size) TEXT("NVIDIA GeForce RTX 3060")
int nvmlDeviceGetUUID(Device device, char *out, unsigned size) TEXT(device == BOARD ? "GPU-" UUID : "MIG-" UUID)

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}
static double watts(void) { return atof(said("FAKE_NVML_WATTS", "71.25")); }
#ifndef WITHOUT_ENERGY
int nvmlDeviceGetTotalEnergyConsumption(Device device, u64 *out)
    ANSWER(u64, 123456789 + (getenv("FAKE_NVML_STANDS_STILL") ? 0 : (u64)(1e3 * watts() * 0.02 * floor(seconds() / 0.02))))
#endif
int nvmlDeviceGetPowerUsage(Device device, unsigned *out) ANSWER(unsigned, (unsigned)(1e3 * watts()))
int nvmlDeviceGetEnforcedPowerLimit(Device device, unsigned *out) ANSWER(unsigned, 700000)
int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *out) ANSWER(unsigned, sensor == 0 ? 31 : 999)
int nvmlDeviceGetClockInfo(Device device, int clock, unsigned *out) ANSWER(unsigned, clock == 1 ? 345 : clock == 2 ? 2619 : 0)
int nvmlDeviceGetMaxClockInfo(Device device, int clock, unsigned *out)
    ANSWER(unsigned, clock == 1 ? 1980 : clock == 2 ? 3201 : 0)
int nvmlDeviceGetCurrentClocksThrottleReasons(Device device, u64 *out)
    ANSWER(u64, strtoull(said("FAKE_NVML_THROTTLED", "0"), NULL, 0))
int nvmlDeviceGetViolationStatus(Device device, int policy, u64 out[2]) {
    int code = refusal(__func__);
    out[1] = policy == 0 ? 2500000000u : 0; /* 0: by power, 1: by heat */
    return code;
}
int nvmlDeviceGetMemoryInfo(Device device, u64 out[3]) {
    int code = refusal(__func__);
    out[0] = (u64)12 << 30, out[1] = (u64)9 << 30, out[2] = (u64)3 << 30; /* total, free, used */
    return code;
}
int nvmlDeviceIsMigDeviceHandle(Device device, unsigned *out) ANSWER(unsigned, device == SLICE)
int nvmlDeviceGetPersistenceMode(Device device, unsigned *out) ANSWER(unsigned, 1)
int nvmlDeviceGetComputeMode(Device device, unsigned *out) ANSWER(unsigned, 3)
int nvmlDeviceGetMigMode(Device device, unsigned *out, unsigned *pending) {
    *pending = 0;
    ANSWER(unsigned, atoi(said("FAKE_NVML_MIG", "0")))
}
struct process { unsigned pid; u64 memory; unsigned instances[2]; };
static int processes(const char *at, unsigned *count, struct process *out) {
    unsigned room = *count, found = 0;
    u64 memory = getenv("FAKE_NVML_WDDM") ? -1 : (u64)3 << 30;
    for (char *end; ; at = end, found++) {
        unsigned pid = strtoul(at, &end, 10);
        if (end == at) break;
        if (out && found < room) out[found] = (struct process){pid, memory, {-1, -1}};
    }
    *count = found;
    return found > room ? TOO_SMALL : OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, struct process *out) {
    int code = refusal(__func__);
    return code ? code : processes(said("FAKE_NVML_PIDS", ""), count, out);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, unsigned *count, struct process *out) {
    return processes(said("FAKE_NVML_DRAWS", ""), count, out);
}
