// The recorded Pika sessions and dumps, unpacked. For tests.
#ifndef LOCKSTEP_TESTS_SUPPORT_PIKA_FIXTURES_H_
#define LOCKSTEP_TESTS_SUPPORT_PIKA_FIXTURES_H_

#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"

namespace lockstep::pika {

// $LOCKSTEP_PIKA_FIXTURES, else the project's copy.
inline std::filesystem::path PikaFixturesDirectory() {
  const char* given = std::getenv("LOCKSTEP_PIKA_FIXTURES");  // NOLINT(concurrency-mt-unsafe)
  return given != nullptr ? given : LOCKSTEP_SOURCE_DIR "/tests/fixtures/pika";
}

// Unpacks a folder's archive into `directory`; `members` are those wanted, all without.
inline void UnpackPikaFixture(const std::string& folder, const std::filesystem::path& directory,
                              const std::string& members = "") {
  std::filesystem::create_directories(directory);
  const std::string archive =
      std::filesystem::absolute(PikaFixturesDirectory() / folder / "large.tar.zst");
  const std::string command = absl::StrCat(
      "cd '", directory.string(), "' && " LOCKSTEP_CMAKE " -E tar xf '", archive, "' ", members);
  LOCKSTEP_CHECK(std::system(command.c_str()) == 0, "the fixtures' archives are whole");  // NOLINT
}

}  // namespace lockstep::pika

#endif  // LOCKSTEP_TESTS_SUPPORT_PIKA_FIXTURES_H_
