// The pictures of docs/cache-sizes.md, as gnuplot scripts.
#ifndef LOCKSTEP_SIM_CACHE_PICTURES_H_
#define LOCKSTEP_SIM_CACHE_PICTURES_H_

#include <string>
#include <vector>

#include "sim/cache_cell.h"

namespace lockstep::sim {

struct CachePicture {
  std::string file;    // Its name, `….svg`.
  std::string script;  // What gnuplot is told; it writes the SVG to its standard output.
};

// `rows` are of PicturePlan.
std::vector<CachePicture> DrawCachePictures(const std::vector<CacheRow>& rows);

}  // namespace lockstep::sim

#endif  // LOCKSTEP_SIM_CACHE_PICTURES_H_
