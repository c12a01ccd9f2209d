// Calls one harmless function of each library through the loaders of scripts/cuda_loaders.py; none of them needs a GPU.
// Prints a line for each, which scripts/check_cuda.sh reads.
#include <stddef.h>
#include <stdio.h>

int cuInit(unsigned flags);
int cuGetErrorString(int error, const char **text);
int nvrtcVersion(int *major, int *minor);
const char *nvrtcGetErrorString(int error);
int curandGetProperty(int type, int *value);
int cublasGetProperty(int type, int *value);
size_t cublasLtGetVersion(void);
size_t cudnnGetVersion(void);
int ncclGetVersion(int *version);
const char *ncclGetErrorString(int error);

int main(void) {
    const char *text = "no text";
    int driver = cuInit(0), value = 0, minor = 0;
    cuGetErrorString(driver, &text);
    printf("cuInit %d: %s\n", driver, text);
    int status = nvrtcVersion(&value, &minor);
    printf("NVRTC %d: version %d.%d, %s\n", status, value, minor, nvrtcGetErrorString(status));
    status = curandGetProperty(0, &value);
    printf("cuRAND %d: version %d\n", status, status ? 0 : value);
    status = cublasGetProperty(0, &value);
    printf("cuBLAS %d: version %d\n", status, status ? 0 : value);
    printf("cuBLASLt %zu\ncuDNN %zu\n", cublasLtGetVersion(), cudnnGetVersion());
    status = ncclGetVersion(&value);
    printf("NCCL %d: version %d, %s\n", status, status ? 0 : value, ncclGetErrorString(status));
    return 0;
}
