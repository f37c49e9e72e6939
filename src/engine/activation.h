/* From a logit to a score: the one function that a model's head ends with.
 *
 * Never relative to other passages, so a score means the same everywhere. */
#ifndef CR_ENGINE_ACTIVATION_H
#define CR_ENGINE_ACTIVATION_H

#include "crossrank.h"

/* activation is resolved: not CR_ACTIVATION_MODEL. Finite for finite logits;
 * computed in float64 and rounded once. */
float cr_activate(cr_activation activation, float logit);

#endif
