/* A program that loads the library by hand, takes it away, and loads it again finds its machine as it was. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

int main(void)
{
    void *machine = NULL;
    for (int i = 0; i < 3; i++) {
        void *library = dlopen("libioasis.so.0", RTLD_NOW);
        if (library == NULL) { printf("%s\n", dlerror()); return 1; }
        int (*create)(const void *, void **) = (int (*)(const void *, void **))(intptr_t)dlsym(library, "ioasis_platform_create");
        int (*open_node)(void *, const char *, int) = (int (*)(void *, const char *, int))(intptr_t)dlsym(library, "ioasis_open");
        if (machine == NULL && create(NULL, &machine) != 0) return 2;
        if (open_node(machine, "/dev/iommu", 2) < 0) return 3;
        dlclose(library);
    }
    puts("ok");
    return 0;
}
