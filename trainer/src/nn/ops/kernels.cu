// What the layers need on a GPU beside matrix products. Each kernel says what its reference in Rust says, one thread a value
// written. A call has `count` values to write, the inputs, the output, then numbers and scalars.

#define EACH(i, count) \
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < (count); i += blockDim.x * (size_t)gridDim.x)

// patches.rs: value (n, row, column, channel, ky, kx) of the patches.
extern "C" __global__ void gather(
    size_t count, const float *image, float *patches, unsigned height, unsigned width, unsigned channels, unsigned rows,
    unsigned columns, unsigned kernel_y, unsigned kernel_x, unsigned stride_y, unsigned stride_x, unsigned top, unsigned left) {
    EACH(i, count) {
        unsigned rest = (unsigned)i;
        const unsigned kx = rest % kernel_x;
        rest /= kernel_x;
        const unsigned ky = rest % kernel_y;
        rest /= kernel_y;
        const unsigned channel = rest % channels;
        rest /= channels;
        const unsigned column = rest % columns;
        rest /= columns;
        const unsigned row = rest % rows;
        const unsigned n = rest / rows;
        // A pixel before the border wraps to one far behind it.
        const unsigned y = row * stride_y + ky - top;
        const unsigned x = column * stride_x + kx - left;
        patches[i] = y < height && x < width ? image[((n * height + y) * width + x) * channels + channel] : 0.0f;
    }
}

// patches.rs: value (n, y, x, channel) of the image.
extern "C" __global__ void scatter(
    size_t count, const float *patches, float *image, unsigned height, unsigned width, unsigned channels, unsigned rows,
    unsigned columns, unsigned kernel_y, unsigned kernel_x, unsigned stride_y, unsigned stride_x, unsigned top, unsigned left) {
    EACH(i, count) {
        unsigned rest = (unsigned)i;
        const unsigned channel = rest % channels;
        rest /= channels;
        const unsigned x = rest % width + left;
        rest /= width;
        const unsigned y = rest % height + top;
        const unsigned n = rest / height;
        float sum = 0.0f;
        for (unsigned ky = y % stride_y; ky < kernel_y && ky <= y; ky += stride_y) {
            const unsigned row = (y - ky) / stride_y;
            if (row >= rows) continue;
            for (unsigned kx = x % stride_x; kx < kernel_x && kx <= x; kx += stride_x) {
                const unsigned column = (x - kx) / stride_x;
                if (column >= columns) continue;
                const unsigned patch = (n * rows + row) * columns + column;
                sum += patches[((patch * channels + channel) * kernel_y + ky) * kernel_x + kx];
            }
        }
        image[i] = sum;
    }
}

// product.rs: sum (part, column) of every `parts`-th row.
extern "C" __global__ void fold_rows(
    size_t count, const float *x, float *sums, unsigned rows, unsigned columns, unsigned parts) {
    EACH(i, count) {
        const unsigned column = (unsigned)i % columns;
        float sum = 0.0f;
        for (unsigned row = (unsigned)i / columns; row < rows; row += parts) sum += x[row * columns + column];
        sums[i] = sum;
    }
}

// bias.rs: piecewise linear activation of x + bias.
extern "C" __global__ void bias_activation(
    size_t count, const float *x, const float *bias, float *y, unsigned channels, float negative) {
    EACH(i, count) {
        const float sum = x[i] + bias[i % channels];
        y[i] = sum > 0.0f ? sum : negative * sum;
    }
}

// bias.rs: a gradient times the activation's slopes.
extern "C" __global__ void activation_gradient(size_t count, const float *g, const float *y, float *dx, float negative) {
    EACH(i, count) dx[i] = y[i] > 0.0f ? g[i] : negative * g[i];
}

// adam.rs: m = decay * m + (1 - decay) * g.
extern "C" __global__ void first_moment(size_t count, const float *g, float *m, float decay, float take) {
    EACH(i, count) m[i] = decay * m[i] + take * g[i];
}

// adam.rs: v = decay * v + (1 - decay) * g * g.
extern "C" __global__ void second_moment(size_t count, const float *g, float *v, float decay, float take) {
    EACH(i, count) v[i] = decay * v[i] + take * g[i] * g[i];
}

// adam.rs: p -= rate * m / (sqrt(v) + epsilon).
extern "C" __global__ void adam_step(
    size_t count, const float *m, const float *v, float *p, float rate, float epsilon) {
    EACH(i, count) p[i] -= rate * m[i] / (sqrtf(v[i]) + epsilon);
}
