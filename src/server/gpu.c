/* GPU use: NVML by dlopen, IOKit on macOS. */
#include "server/gpu.h"

#include "base/mem.h"

#include <stddef.h>
#include <string.h>

#ifdef __APPLE__

#include <CoreFoundation/CoreFoundation.h>
#include <IOKit/IOKitLib.h>

/* ---- IOKit (never compiled, never run) ---------------------------------- */

struct cr_gpu {
    io_service_t service;
};

cr_gpu *cr_gpu_open(const char *library) {
    (void)library;
    io_service_t service = IOServiceGetMatchingService(
        MACH_PORT_NULL, IOServiceMatching("IOAccelerator"));
    cr_gpu *gpu = service ? cr_calloc(1, sizeof *gpu) : NULL;
    if (gpu)
        gpu->service = service;
    else if (service)
        IOObjectRelease(service);
    return gpu;
}

void cr_gpu_close(cr_gpu *gpu) {
    if (gpu)
        IOObjectRelease(gpu->service);
    cr_free(gpu);
}

const char *cr_gpu_source(const cr_gpu *gpu) {
    (void)gpu;
    return "iokit";
}

bool cr_gpu_read(const cr_gpu *gpu, double *percent) {
    CFTypeRef all = IORegistryEntryCreateCFProperty(
        gpu->service, CFSTR("PerformanceStatistics"), kCFAllocatorDefault, 0);
    CFTypeRef number = NULL;
    int64_t value = -1;
    if (all && CFGetTypeID(all) == CFDictionaryGetTypeID())
        number = CFDictionaryGetValue((CFDictionaryRef)all,
                                      CFSTR("Device Utilization %"));
    if (number && CFGetTypeID(number) == CFNumberGetTypeID())
        CFNumberGetValue((CFNumberRef)number, kCFNumberSInt64Type, &value);
    if (all)
        CFRelease(all);
    *percent = (double)value;
    return value >= 0 && value <= 100;
}

#else

#include <dlfcn.h>

/* ---- NVML --------------------------------------------------------------- */

/* Of nvml.h: every call gives 0 where it worked; a device is a pointer. */
typedef struct utilization {
    unsigned gpu;    /* percent of the last interval with a kernel running */
    unsigned memory; /* percent of it with memory being read or written */
} utilization;

typedef int call_plain(void);
typedef int call_device(unsigned index, void **device);
typedef int call_rates(void *device, utilization *rates);

struct cr_gpu {
    void *library;
    void *device;
    call_plain *shut_down;
    call_rates *read_rates;
};

/* ISO C has no cast from an object's address to a function's; POSIX has. */
static bool find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* The first GPU of a library that is loaded. */
static bool start(cr_gpu *gpu) {
    call_plain *init;
    call_device *by_index;
    if (!find(gpu->library, "nvmlInit_v2", &init) ||
        !find(gpu->library, "nvmlShutdown", &gpu->shut_down) ||
        !find(gpu->library, "nvmlDeviceGetHandleByIndex_v2", &by_index) ||
        !find(gpu->library, "nvmlDeviceGetUtilizationRates",
              &gpu->read_rates) ||
        init() != 0)
        return false;
    double percent;
    if (by_index(0, &gpu->device) == 0 && cr_gpu_read(gpu, &percent))
        return true;
    gpu->shut_down();
    return false;
}

cr_gpu *cr_gpu_open(const char *library) {
    cr_gpu *gpu = cr_calloc(1, sizeof *gpu);
    if (!gpu)
        return NULL;
    gpu->library =
        dlopen(library ? library : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (gpu->library && start(gpu))
        return gpu;
    if (gpu->library)
        dlclose(gpu->library);
    cr_free(gpu);
    return NULL;
}

void cr_gpu_close(cr_gpu *gpu) {
    if (!gpu)
        return;
    gpu->shut_down();
    dlclose(gpu->library);
    cr_free(gpu);
}

const char *cr_gpu_source(const cr_gpu *gpu) {
    (void)gpu;
    return "nvml";
}

bool cr_gpu_read(const cr_gpu *gpu, double *percent) {
    utilization rates = {.gpu = 101};
    if (gpu->read_rates(gpu->device, &rates) != 0 || rates.gpu > 100)
        return false;
    *percent = rates.gpu;
    return true;
}

#endif
