/* A plugin execution provider that registers, offers the CPU as its device, and takes no node.
 *
 * ONNX Runtime's binary interface never changes, it only grows: these are the first members of
 * the structures in onnxruntime_ep_c_api.h, in their order, and the two places in the tables of
 * functions that are needed.
 */
#include <stddef.h>
#include <stdint.h>

#define SUPPORTED 23 /* the oldest version with whole plugin providers */
#define GET_EP_API 317 /* OrtApi's GetEpApi */
#define CREATE_EP_DEVICE 0 /* OrtEpApi's CreateEpDevice */
#define EXPORTED __attribute__((visibility("default")))

typedef void *Status; /* NULL: well done */
typedef void (*Function)(void);

typedef struct {
    const Function *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} Base;

typedef struct Ep {
    uint32_t version;
    const char *(*get_name)(const struct Ep *);
    Status (*get_capability)(struct Ep *, const void *graph, void *support);
    Function later[40]; /* optional, or only for nodes that it takes */
} Ep;

typedef struct Factory {
    uint32_t version;
    const char *(*get_name)(const struct Factory *);
    const char *(*get_vendor)(const struct Factory *);
    Status (*get_devices)(struct Factory *, const void *const *hardware, size_t count,
                          void **devices, size_t room, size_t *made);
    Status (*create)(struct Factory *, const void *const *hardware, const void *const *metadata,
                     size_t count, const void *options, const void *logger, Ep **made);
    void (*release)(struct Factory *, Ep *);
    uint32_t (*get_vendor_id)(const struct Factory *);
    const char *(*get_version)(const struct Factory *);
    Function compiled_models, make_allocator, release_allocator; /* never asked for */
    Status (*copy)(struct Factory *, void **transfer);
    long (*streams)(const struct Factory *);
    Function later[40];
} Factory;

typedef Status (*CreateDevice)(Factory *, const void *hardware, const void *metadata,
                               const void *options, void **device);

static const Function *api;

static const char *ep_name(const Ep *ep) { (void)ep; return "IdleExecutionProvider"; }
static const char *name(const Factory *self) { (void)self; return "IdleExecutionProvider"; }
static const char *vendor(const Factory *self) { (void)self; return "nobody"; }
static uint32_t vendor_id(const Factory *self) { (void)self; return 0xFFFF; }
static const char *version(const Factory *self) { (void)self; return "0.0.1"; }

static Status takes_nothing(Ep *ep, const void *graph, void *support) {
    (void)ep; (void)graph; (void)support;
    return NULL;
}

static Ep idle = {SUPPORTED, ep_name, takes_nothing, {0}};

static Status devices(Factory *self, const void *const *hardware, size_t count, void **made,
                      size_t room, size_t *number) {
    const Function *ep_api = ((const Function *(*)(void))api[GET_EP_API])();
    *number = 0;
    if (count == 0 || room == 0) return NULL;
    Status status = ((CreateDevice)ep_api[CREATE_EP_DEVICE])(self, hardware[0], NULL, NULL, made);
    if (status == NULL) *number = 1;
    return status;
}

static Status create(Factory *self, const void *const *hardware, const void *const *metadata,
                     size_t count, const void *options, const void *logger, Ep **made) {
    (void)self; (void)hardware; (void)metadata; (void)count; (void)options; (void)logger;
    *made = &idle;
    return NULL;
}

static void release(Factory *self, Ep *ep) { (void)self; (void)ep; }

static Status no_copy(Factory *self, void **transfer) {
    (void)self;
    *transfer = NULL;
    return NULL;
}

static long no_streams(const Factory *self) { (void)self; return 0; }

static Factory factory = {SUPPORTED, name, vendor, devices, create, release, vendor_id, version,
                          NULL, NULL, NULL, no_copy, no_streams, {0}};

EXPORTED Status CreateEpFactories(const char *registered, const Base *base, const void *logger,
                                  Factory **factories, size_t room, size_t *number) {
    (void)registered; (void)logger;
    api = base->get_api(SUPPORTED);
    *number = 0;
    if (api == NULL || room == 0) return NULL;
    factories[0] = &factory;
    *number = 1;
    return NULL;
}

EXPORTED Status ReleaseEpFactory(Factory *self) { (void)self; return NULL; }
