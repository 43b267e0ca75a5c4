// The source document's tables beside ours: its own figures, its algorithms as we understand them
// (Main1, Main2), and Lockstep's.
#ifndef LOCKSTEP_SIM_CACHE_REPRODUCE_H_
#define LOCKSTEP_SIM_CACHE_REPRODUCE_H_

#include <string>
#include <vector>

#include "sim/cache_cell.h"

namespace lockstep::sim {

// What the document says of a cell; empty: it says nothing of it, or the cell is empty there.
std::string SourceFigures(const CacheRow& row);

// `rows` are of ReproducePlan.
std::string ReproducedTables(const std::vector<CacheRow>& rows);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_REPRODUCE_H_
