// The part of XLA's C interface for foreign functions that `_xla.pyx` uses. The declarations are
// our own, so neither JAX nor XLA is needed to build; tests/test_jax.py compares them with XLA's.
//
// Versions 0.1 (JAX 0.5) to 0.5 agree on these members. New members come after them; a change that
// moves one increases the major version, which `is_known` checks.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace batchpinv {
namespace xla {

struct Error; // XLA's own; null is success

struct Extension {
    size_t struct_size;
    int type;
    Extension *next;
};

struct Version {
    size_t struct_size;
    Extension *extension;
    int major, minor;
};

struct ErrorArguments {
    size_t struct_size;
    Extension *extension;
    const char *message; // copied
    int code;
};

struct Api {
    size_t struct_size;
    Extension *extension;
    Version version;
    const void *internal;
    Error *(*make_error)(ErrorArguments *);
};

struct Buffer {
    size_t struct_size;
    Extension *extension;
    int dtype;
    void *data;
    int64_t rank;
    int64_t *dims;
};

struct Buffers {
    size_t struct_size;
    Extension *extension;
    int64_t size;
    int *types; // all of them 1: a buffer
    Buffer **buffers;
};

struct Scalar {
    int dtype;
    void *value;
};

struct Attributes { // sorted by name
    size_t struct_size;
    Extension *extension;
    int64_t size;
    int *types;
    void **names;
    Scalar **scalars;
};

struct CallFrame {
    size_t struct_size;
    Extension *extension;
    const Api *api;
    void *context;
    int stage;
    Buffers arguments, results;
    Attributes attributes;
};

// XLA may ask for this instead of a computation.
struct Metadata {
    size_t struct_size;
    Version version;
    uint32_t traits;
};

struct MetadataExtension {
    Extension base;
    Metadata *metadata;
};

constexpr int METADATA = 1, EXECUTE = 3, INVALID_ARGUMENT = 3;
constexpr int S32 = 4, S64 = 5, U8 = 6, F32 = 11, F64 = 12, C64 = 15, C128 = 18;

inline bool is_known(const Api &api) { return api.version.major == 0 && api.version.minor >= 1; }

inline Error *fail(const CallFrame &frame, const char *message) {
    ErrorArguments arguments{sizeof(ErrorArguments), nullptr, message, INVALID_ARGUMENT};
    return frame.api->make_error(&arguments);
}

// Answers XLA if it asks for the metadata of the function, and returns whether it did. The function
// says that it is of XLA's own version if that is known, else of 0.1.
inline bool told_metadata(const CallFrame &frame) {
    Extension *const asked = frame.extension;
    if (!asked || asked->type != METADATA)
        return false;
    Metadata &metadata = *reinterpret_cast<MetadataExtension *>(asked)->metadata;
    metadata.version = {sizeof(Version), nullptr, 0, 1};
    if (frame.api && is_known(*frame.api))
        metadata.version.minor = frame.api->version.minor;
    metadata.traits = 0;
    return true;
}

} // namespace xla
} // namespace batchpinv
