/* Service: how long a lane takes, as a simulation needs to know it.
 *
 * A curve of a group's time over its tokens, how far single groups lie beside
 * the curve, what a team gains, and what a request costs beside its groups.
 * lab/calibrate.h measures it; a file of an earlier measurement gives it back.
 * It knows lengths of no single pair: attention's square of the length is in
 * the spread.
 *
 * Times are whole nanoseconds: a file's milliseconds give the same ones back,
 * and a second plan from it is the first.
 *
 * Threads: read-only once it is filled. */
#ifndef CR_LAB_SERVICE_H
#define CR_LAB_SERVICE_H

#include "base/error.h"
#include "sched/batcher.h"

#include <jansson.h>

enum { CR_SERVICE_POINTS = 32, CR_SERVICE_RATIOS = 512 };

typedef struct cr_service {
    cr_geometry geometry; /* of the backend that was measured */
    size_t n_points;
    double tokens[CR_SERVICE_POINTS]; /* [n_points] rising */
    double ns[CR_SERVICE_POINTS];     /* [n_points] of a group on one lane */
    size_t n_ratios;                  /* 0: every group is on the curve */
    double ratios[CR_SERVICE_RATIOS]; /* [n_ratios] of single groups to it */
    double team_gain; /* lanes that each further member of a team is worth */
    double door_ns;   /* CPU time of a request beside its groups */
    double wire_ns;   /* what a request waits where no CPU of ours works */
} cr_service;

/* Of a group on one lane, on the curve: straight between its points, level
 * before the first, in proportion behind the last. */
double cr_service_ns(const cr_service *service, double tokens);

/* As JSON and back: an object that cr_service_read takes again. NULL where
 * memory ran out. */
json_t *cr_service_write(const cr_service *service);
/* CR_ERR_INPUT names `path` and what is wrong in it. */
cr_status cr_service_read(const json_t *json, const char *path,
                          cr_service *service, cr_error *error);

#endif
