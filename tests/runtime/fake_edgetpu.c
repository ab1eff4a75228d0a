/* A libedgetpu for tests: the same functions, and a device that answers 0, 10, 20, ...

   The structures are those of TFLite's C interface, as far as they are used here.
   FAKE_EDGETPU chooses what goes wrong: "none" (no device), "refuse" (no reason), "crash",
   "unplug". FAKE_EDGETPU_LOCK names a file that stands for the device: one process at a time. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct {
  int type; void *data; IntArray *dims; float scale; int32_t zero_point; int allocation_type;
  size_t bytes; const void *allocation; const char *name; void *delegate; int buffer_handle;
  _Bool data_is_stale, is_variable; struct { int type; void *params; } quantization;
  void *sparsity; const IntArray *dims_signature;
} Tensor;
typedef struct { IntArray *inputs, *outputs; } Node;
struct Context;
typedef struct {
  void *(*init)(struct Context *, const char *, size_t);
  void (*free)(struct Context *, void *);
  int (*prepare)(struct Context *, Node *);
  int (*invoke)(struct Context *, Node *);
  const char *(*profiling_string)(const struct Context *, const Node *);
  int32_t builtin_code; const char *custom_name; int version; void *more[4];
} Registration;
typedef struct Delegate {
  void *data; int (*prepare)(struct Context *, struct Delegate *);
  void *copy_from, *copy_to, *free_handle; int64_t flags; void *builder;
} Delegate;
typedef struct Context {
  size_t tensors_size; int (*get_plan)(struct Context *, IntArray **); Tensor *tensors;
  void *impl, *resize, *report, *add_tensors;
  int (*get_node)(struct Context *, int, Node **, Registration **);
  int (*replace)(struct Context *, Registration, const IntArray *, Delegate *);
} Context;
typedef struct { int kind; const char *path; } Device;

static int is_set(const char *value) {
  const char *set = getenv("FAKE_EDGETPU");
  return set && strcmp(set, value) == 0;
}

Device *edgetpu_list_devices(size_t *count) {
  static Device devices[] = {{1, "usb a"}, {1, "usb b"}, {0, "/dev/apex_0"}};
  *count = is_set("none") ? 0 : 3;
  return *count ? devices : NULL;
}
void edgetpu_free_devices(Device *devices) { (void)devices; }
const char *edgetpu_version(void) { return "RuntimeVersion(14)"; }

static int fill(Context *context, Node *node) {
  Tensor *output = &context->tensors[node->outputs->data[0]];
  if (is_set("unplug")) return 1;
  for (size_t i = 0; i < output->bytes; i++) ((uint8_t *)output->data)[i] = (uint8_t)(10 * i);
  return 0;
}
static int accept(Context *context, Node *node) { (void)context; (void)node; return 0; }

static int take_ops(Context *context, Delegate *delegate) {
  IntArray *plan; Node *node; Registration *op;
  Registration kernel = {.prepare = accept, .invoke = fill, .custom_name = "fake", .version = 1};
  if (context->get_plan(context, &plan)) return 1;
  IntArray *taken = malloc(sizeof(IntArray) + plan->size * sizeof(int));
  taken->size = 0;
  for (int i = 0; i < plan->size; i++) {
    context->get_node(context, plan->data[i], &node, &op);
    if (op->custom_name && strcmp(op->custom_name, "edgetpu-custom-op") == 0)
      taken->data[taken->size++] = plan->data[i];
  }
  int status = context->replace(context, kernel, taken, delegate);
  free(taken);
  return status;
}

Delegate *tflite_plugin_create_delegate(
    char **keys, char **values, size_t count, void (*report)(const char *)) {
  if (is_set("crash")) abort();
  if (is_set("refuse")) return NULL;
  if (count && strcmp(values[0], "usb:1")) { report(keys[0]); return NULL; }
  const char *lock = getenv("FAKE_EDGETPU_LOCK");
  int device = lock ? open(lock, O_RDWR | O_CREAT, 0600) : -1;
  if (device >= 0 && flock(device, LOCK_EX | LOCK_NB)) { close(device); return NULL; }
  Delegate *delegate = calloc(1, sizeof(Delegate));
  delegate->data = (void *)(intptr_t)device;
  delegate->prepare = take_ops;
  delegate->flags = 1; /* or the interpreter prepares the unknown operation first */
  return delegate;
}
void tflite_plugin_destroy_delegate(Delegate *delegate) {
  if (delegate && (intptr_t)delegate->data >= 0) close((int)(intptr_t)delegate->data);
  free(delegate);
}
