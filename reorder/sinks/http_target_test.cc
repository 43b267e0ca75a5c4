#include "reorder/sinks/http_target.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(HttpTargetTest, AddressesAreTakenApart) {
  const std::pair<const char*, HttpTarget> good[] = {
      {"http://h", {false, "h", 80, "/"}},
      {"https://h", {true, "h", 443, "/"}},
      {"https://pay.example:8443/in/box?tenant=7", {true, "pay.example", 8443, "/in/box?tenant=7"}},
      {"http://h?x=1", {false, "h", 80, "/?x=1"}},
      {"http://[2001:db8::7]:8080/a", {false, "2001:db8::7", 8080, "/a"}},
      {"http://[::1]", {false, "::1", 80, "/"}},
  };
  for (const auto& [url, target] : good) {
    SCOPED_TRACE(url);
    ASSERT_TRUE(ParseHttpTarget(url).ok());
    EXPECT_EQ(*ParseHttpTarget(url), target);
  }
  EXPECT_EQ(ParseHttpTarget("https://h/a?token=t")->Shown(), "https://h:443/a");
  EXPECT_EQ(ParseHttpTarget("http://[::1]:8/a")->Shown(), "http://[::1]:8/a");
}

TEST(HttpTargetTest, OthersAreRefused) {
  for (const char* url : {"http://", "http:///a", "ftp://h", "http://h:0", "http://h:65536",
                          "http://h:8x", "http://h:", "http://:80", "http://[::1", "http://[]:80",
                          "http://h/a b", "http://h/#a", "http://h/\n"}) {
    EXPECT_FALSE(ParseHttpTarget(url).ok()) << url;
  }
  const auto status = ParseHttpTarget("https://user:secret@h/").status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("--sink-header-file"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("secret")));
}

TEST(HttpTargetTest, HeadersComeFromAFileWhoseValuesAreNotRepeated) {
  std::string path = std::filesystem::temp_directory_path() / "lockstep-headers-XXXXXX";
  close(mkstemp(path.data()));
  const auto read = [&](const char* text) {
    std::ofstream(path) << text;
    return ReadHttpHeaders("--sink-header-file", path);
  };
  EXPECT_THAT(read("# ours\nAuthorization: Bearer a:b \r\n\nX-Tenant:7").value(),
              testing::ElementsAre(testing::Pair("Authorization", "Bearer a:b"),
                                   testing::Pair("X-Tenant", "7")));
  for (const char* bad :
       {"secret", ": secret", "A B: secret", "idempotency-key: secret", "\n\nHost: secret"}) {
    SCOPED_TRACE(bad);
    const auto headers = read(bad);
    ASSERT_FALSE(headers.ok());
    EXPECT_THAT(std::string(headers.status().message()), HasSubstr(": line "));
    EXPECT_THAT(std::string(headers.status().message()), Not(HasSubstr("secret")));
  }
  std::filesystem::remove(path);
  EXPECT_THAT(std::string(ReadHttpHeaders("--sink-header-file", path).status().message()),
              HasSubstr("is not readable"));
}

TEST(HttpTargetTest, EveryAnswerIsJudged) {
  for (const int status : {200, 201, 202, 204, 299, 409}) {
    EXPECT_EQ(JudgeHttpStatus(status), HttpVerdict::kDone) << status;
  }
  for (const int status : {408, 429, 500, 502, 503, 504, 599}) {
    EXPECT_EQ(JudgeHttpStatus(status), HttpVerdict::kRepeat) << status;
  }
  for (const int status : {100, 301, 302, 304, 308, 400, 401, 403, 404, 410, 422}) {
    EXPECT_EQ(JudgeHttpStatus(status), HttpVerdict::kStop) << status;
  }
}

TEST(HttpTargetTest, AKeyIsVisibleTextAndNoTwoRecordsHaveTheSame) {
  EXPECT_EQ(IdempotencyKey("orders/0", "A", 2301), "orders/0/A/2301");
  EXPECT_EQ(IdempotencyKey("orders/0", "a b%\r\n\xc3\xa9", 1), "orders/0/a%20b%25%0D%0A%C3%A9/1");
  EXPECT_EQ(IdempotencyKey("orders/0", "A/1", 2), "orders/0/A/1/2");
}

}  // namespace
}  // namespace lockstep
