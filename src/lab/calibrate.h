/* Calibrate: the service times of this machine, measured.
 *
 * cr_calibrate_groups scores groups of the data's own pairs, from small ones
 * to more than a lane likes, on all lanes at once, as they are under load.
 * cr_calibrate_door asks a server of our own one request after the other: what
 * its process and the client take beside the groups is the door's and the
 * wire's. cr_calibrate_read takes both from what crossrank bench or crossrank
 * plan left instead.
 *
 * Threads: one call a process; starts its own. */
#ifndef CR_LAB_CALIBRATE_H
#define CR_LAB_CALIBRATE_H

#include "lab/dataset.h"
#include "lab/service.h"
#include "sched/job.h"

typedef struct cr_calibration {
    cr_generation *generation; /* its backend is measured, on all its lanes */
    const cr_job *encoded;     /* the data's pairs */
    const cr_dataset *dataset; /* the same as texts */
    bool as_pairs;             /* of requests, see cr_dataset_take */
    uint32_t pairs;            /* of a request */
    const char *program;       /* crossrank itself, for `serve` */
    const char *const *arguments; /* [n_arguments] of it: model, dtype, ... */
    size_t n_arguments;
    bool (*stop)(void); /* NULL: never */
} cr_calibration;

/* Fills all but door and wire; takes about four seconds. *cpu_share is how
 * much of that time the lanes had a CPU: less than nearly all, and it is other
 * work on this machine that was measured. CR_ERR_CANCELLED after a stop; as
 * the backend does. */
cr_status cr_calibrate_groups(const cr_calibration *calibration,
                              cr_service *service, double *cpu_share,
                              cr_error *error);
/* Fills those; starts and ends a server, whose messages go to a file that is
 * gone afterwards. *lone_ms is the mean latency of a request that was alone.
 * About two seconds. As lab/child.h and lab/load.h. */
cr_status cr_calibrate_door(const cr_calibration *calibration,
                            cr_service *service, double *lone_ms,
                            cr_error *error);
/* From a file: results.json of crossrank bench, or what crossrank plan --json
 * wrote. The former knows no single groups: their time is in proportion to
 * tokens, at the rate of the fastest configuration, all of them are on that
 * line, and a team gains nothing; `geometry` is that of our own backend.
 * CR_ERR_INPUT, CR_ERR_IO. */
cr_status cr_calibrate_read(const char *path, const cr_geometry *geometry,
                            cr_service *service, cr_error *error);

#endif
