/* What the watch of GPUs calls of NVML, without a GPU: one that FAKE_NVML
 * describes, "USE" in percent, or the name of the call that fails. */
#include <stdlib.h>
#include <string.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2]);

/* How often it is open; the test looks at it. */
__attribute__((visibility("default"))) int fake_nvml_open;
static int the_device;

static int fails(const char *call) {
    const char *told = getenv("FAKE_NVML");
    return !told || strcmp(told, call) == 0 ? 999 : 0;
}

#define EXPORT __attribute__((visibility("default")))

EXPORT int nvmlInit_v2(void) {
    fake_nvml_open += !fails("init");
    return fails("init");
}

EXPORT int nvmlShutdown(void) {
    fake_nvml_open--;
    return 0;
}

#ifndef FAKE_NVML_IS_OLD /* that version lacks the call */
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = &the_device;
    return index ? 2 : fails("device");
}
#endif

EXPORT int nvmlDeviceGetUtilizationRates(void *device, unsigned rates[2]) {
    if (device != &the_device || fails("rates"))
        return 2;
    rates[0] = (unsigned)strtoul(getenv("FAKE_NVML"), NULL, 10);
    rates[1] = 7;
    return 0;
}
