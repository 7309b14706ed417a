/* A Vulkan loader between ncnn and the real one: the device is lost, or out of memory, after a number
   of calls that the environment says. Functions are passed on without knowing their types. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Function)(void);
typedef Function (*Getter)(void *, const char *);
typedef int (*Call)(void *, void *, void *, void *); /* of either function: all fit registers */

enum { OUT_OF_DEVICE_MEMORY = -2, DEVICE_LOST = -4 };
static Getter of_instance, of_device;
static Call submit, allocate;
static long submits, allocations;

static int over(const char *name, long *count) {
    const char *most = getenv(name);
    return most && (*count)++ >= atol(most);
}

static int submit_or_lose(void *a, void *b, void *c, void *d) {
    return over("SUBMITS", &submits) ? DEVICE_LOST : submit(a, b, c, d);
}

static int allocate_or_not(void *a, void *b, void *c, void *d) {
    return over("ALLOCATIONS", &allocations) ? OUT_OF_DEVICE_MEMORY : allocate(a, b, c, d);
}

static Function replaced(const char *name, Function found) {
    if (found && !strcmp(name, "vkQueueSubmit")) {
        submit = (Call)found;
        return (Function)submit_or_lose;
    }
    if (found && !strcmp(name, "vkAllocateMemory")) {
        allocate = (Call)found;
        return (Function)allocate_or_not;
    }
    return found;
}

static Function get_of_device(void *device, const char *name) {
    return replaced(name, of_device(device, name));
}

Function vkGetInstanceProcAddr(void *instance, const char *name) {
    if (!of_instance)
        of_instance = (Getter)dlsym(dlopen("libvulkan.so.1", RTLD_NOW), "vkGetInstanceProcAddr");
    Function found = of_instance(instance, name);
    if (found && !strcmp(name, "vkGetDeviceProcAddr")) {
        of_device = (Getter)found;
        return (Function)get_of_device;
    }
    return replaced(name, found);
}
