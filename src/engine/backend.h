/* A backend: something that turns groups of packed tokens into logits.
 *
 * The scheduler above knows a backend by its description alone: how many lanes
 * it has and how many tokens a lane likes to take at once. A lane is one
 * worker that can score a group by itself; calls for different lanes may run
 * at the same time, calls for one lane may not, from whatever thread. A backend
 * that is told so can also put several lanes to work on one group (a team).
 *
 * Backends check nothing about a group: ids, positions and lengths are valid
 * when they arrive, and no group is longer than max_group_tokens.
 *
 * `cpu` is part of the library. Others are modules, shared objects that are
 * looked for when they are asked for (docs/BACKENDS.md): the plain program
 * needs none of what they are linked with. */
#ifndef CR_ENGINE_BACKEND_H
#define CR_ENGINE_BACKEND_H

#include "base/error.h"
#include "base/module.h"
#include "engine/team.h"
#include "model/model.h"

/* Sequences laid end to end, without padding. */
typedef struct cr_group {
    size_t n_tokens;
    const int32_t *ids;        /* [n_tokens] */
    const uint8_t *type_ids;   /* [n_tokens] */
    const uint32_t *positions; /* [n_tokens] cr_model_fill_positions */
    size_t n_sequences;
    const uint32_t *starts; /* [n_sequences + 1], the last is n_tokens */
} cr_group;

typedef struct cr_backend_options {
    const char *device;  /* NULL: the backend's own default */
    const char *dtype;   /* NULL: "auto" */
    const char *isa;     /* NULL: "auto" */
    uint32_t lanes;      /* >= 1 */
    uint32_t max_length; /* tokens of the longest sequence to come */
} cr_backend_options;

typedef struct cr_backend_description {
    const char *name;
    const char *device;
    const char *dtype;
    const char *isa; /* "" where the word means nothing */
    uint32_t lanes;
    uint32_t group_tokens;     /* what a lane likes to take at once */
    uint32_t max_group_tokens; /* what it can take at most */
    uint32_t team_tokens; /* a team's members take multiples; 0: no teams */
    bool pads;            /* computes padding, so likes equal lengths */
    bool exact;           /* a score never depends on its company */
    uint64_t weight_bytes;
    uint64_t workspace_bytes;
} cr_backend_description;

typedef struct cr_backend cr_backend;

/* What a backend's own allocator holds, of the whole process. */
typedef struct cr_backend_memory {
    uint64_t active_bytes;
    uint64_t peak_bytes;  /* the most that was active */
    uint64_t cache_bytes; /* freed, but not given back */
    uint64_t cache_limit_bytes;
} cr_backend_memory;

typedef struct cr_backend_ops {
    const char *name;
    const char *const *dtypes; /* up to NULL */
    /* The devices that this machine has, up to NULL. */
    const char *const *(*list_devices)(void);
    cr_status (*open)(const cr_model *model, const cr_backend_options *options,
                      cr_backend **backend, cr_error *error);
    void (*close)(cr_backend *backend);
    /* Every member of the team calls this once for the same group with its
     * own lane; all return when the group is done and team->members[0] has
     * logits[n_sequences][n_labels]. A team of one is the usual case. A
     * failure is of the whole group, is returned to member 0, and leaves the
     * lanes ready for the next group, which may have the same sequences in
     * fewer; what others return is not looked at. */
    cr_status (*score)(cr_backend *backend, uint32_t lane, cr_team *team,
                       uint32_t member, const cr_group *group, float *logits,
                       cr_error *error);
    /* Tokens of padding that scoring the group computes; NULL: never any. */
    uint64_t (*count_padding)(const cr_backend *backend, const cr_group *group);
    /* NULL: nothing beside the description's bytes. From any thread. */
    void (*read_memory)(const cr_backend *backend, cr_backend_memory *memory);
} cr_backend_ops;

/* The head of every backend's own structure. */
struct cr_backend {
    const cr_backend_ops *ops;
    cr_backend_description description;
};

extern const cr_backend_ops cr_cpu_backend;

/* What a module exports as CR_BACKEND_SYMBOL. */
typedef struct cr_backend_module {
    cr_module_head head;
    const cr_backend_ops *ops;
} cr_backend_module;

#define CR_BACKEND_SYMBOL "crossrank_backend_module"

/* The backend of that name, NULL or "auto" for the default; its module is
 * loaded, once. CR_ERR_UNAVAILABLE, with how to get it. From any thread. */
cr_status cr_backend_find(const char *name, const cr_backend_ops **ops,
                          cr_error *error);

/* Names of all backends that there can be, up to NULL; cr_backend_names of the
 * public API lists those that are there. */
const char *const *cr_backend_all_names(void);

#endif
