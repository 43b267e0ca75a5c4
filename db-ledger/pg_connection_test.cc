#include "db-ledger/pg_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/shared_pair_test.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

PgDeadline In(int seconds) {
  return std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
}

TEST(ParsePgHosts, OneEntryAHost) {
  const auto hosts = ParsePgHosts("host=db1,db2 port=5432,6432 dbname=lockstep", "test");
  ASSERT_TRUE(hosts.ok()) << hosts.status();
  ASSERT_EQ(hosts->size(), 2u);
  EXPECT_EQ((*hosts)[0].Name(), "db1:5432");
  EXPECT_EQ((*hosts)[1].Name(), "db2:6432");
  EXPECT_EQ((*hosts)[1].keywords.at("connect_timeout"), "5");
  EXPECT_THAT((*hosts)[1].keywords.at("options"), HasSubstr("synchronous_commit=on"));
}

TEST(ParsePgHosts, WhatIsGivenWins) {
  const auto hosts = ParsePgHosts(
      "postgresql://u@db1,db2/l?connect_timeout=9&options=-csynchronous_commit%3Dremote_apply",
      "t");
  ASSERT_TRUE(hosts.ok()) << hosts.status();
  ASSERT_EQ(hosts->size(), 2u);
  EXPECT_EQ((*hosts)[0].keywords.at("connect_timeout"), "9");
  EXPECT_THAT((*hosts)[0].keywords.at("options"), testing::EndsWith("remote_apply"));
  EXPECT_FALSE(ParsePgHosts("host=a nonsense", "t").ok());
}

std::unique_ptr<PgConnection> OpenAt(const std::string& conninfo, PgRole role) {
  auto connection = PgConnection::Open(*ParsePgHosts(conninfo, "test"), role, In(20));
  EXPECT_TRUE(connection.ok()) << connection.status();
  return connection.ok() ? std::move(*connection) : nullptr;
}

TEST(PgConnection, FindsPrimaryAndStandbyByTheirRole) {
  PostgresPair& pair = SharedPair();
  const auto primary = OpenAt(pair.Conninfo("postgres"), PgRole::kPrimary);
  const auto standby = OpenAt(pair.Conninfo("postgres"), PgRole::kStandby);
  EXPECT_EQ(primary->host_name(), "127.0.0.1:" + std::to_string(pair.port(PostgresPair::kPrimary)));
  EXPECT_EQ(standby->host_name(), "127.0.0.1:" + std::to_string(pair.port(PostgresPair::kStandby)));
  const auto none =
      PgConnection::Open(*ParsePgHosts(pair.ConninfoOf(PostgresPair::kPrimary, "postgres"), "test"),
                         PgRole::kStandby, In(20));
  EXPECT_EQ(none.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("is no standby"));
}

// 192.0.2.1 is reserved for documentation: nobody answers, or the route says so.
// Or the locks of a client whose host is gone would be held for hours.
TEST(PgConnection, TheServerLooksForAClientWhoseHostIsGone) {
  const auto connection = OpenAt(SharedPair().Conninfo("postgres"), PgRole::kPrimary);
  const auto setting = [&](const std::string& name) {
    return connection->ExecuteScript("show " + name, In(10)).value_or("");
  };
  EXPECT_EQ(setting("tcp_keepalives_idle"), "10");
  EXPECT_EQ(setting("tcp_keepalives_interval"), "5");
  EXPECT_EQ(setting("tcp_keepalives_count"), "3");
  EXPECT_EQ(setting("client_connection_check_interval"), "5s");
}

TEST(PgConnection, ADeadHostCostsNothing) {
  PostgresPair& pair = SharedPair();
  const auto began = std::chrono::steady_clock::now();
  const auto primary = OpenAt("host=192.0.2.1,127.0.0.1 user=postgres dbname=postgres port=5432," +
                                  std::to_string(pair.port(PostgresPair::kPrimary)),
                              PgRole::kPrimary);
  ASSERT_NE(primary, nullptr);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(4));
}

TEST(PgConnection, WrongCredentialsAreNamed) {
  const auto refused = PgConnection::Open(
      *ParsePgHosts(SharedPair().ConninfoOf(PostgresPair::kPrimary, "postgres", "locked") +
                        " password=wrong-secret",
                    "test"),
      PgRole::kAny, In(20));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), testing::Not(HasSubstr("wrong-secret")));
}

constexpr PgStatement kAdd{"add", "select $1::bigint + 1, $2::text, $3::bigint[], $4::bytea[]"};
constexpr PgStatement kDivide{"divide", "select 1 / $1::bigint"};
constexpr PgStatement kNonsense{"nonsense", "select nonsense"};

TEST(PgConnection, StatementsTravelTogetherAndFailAlone) {
  const auto connection = OpenAt(SharedPair().Conninfo("postgres"), PgRole::kPrimary);
  PgParams add, zero, one, none;
  add.Int(41).Text("é").Ints({1, 2}).OptionalBytes({std::nullopt});
  zero.Int(0);
  one.Int(1);
  for (int round = 0; round < 2; ++round) {  // The second round finds what is prepared.
    const auto answers =
        connection->Run({{&kDivide, &zero}, {&kAdd, &add}, {&kNonsense, &none}}, In(10));
    ASSERT_EQ(answers.size(), 3u);
    EXPECT_EQ(answers[0].kind, PgAnswer::Kind::kError);
    EXPECT_EQ(answers[0].error.sqlstate, "22012");
    ASSERT_EQ(answers[1].kind, PgAnswer::Kind::kRows);
    EXPECT_EQ(answers[1].rows.Int(0, 0), 42);
    EXPECT_EQ(answers[1].rows.Text(0, 1), "é");
    EXPECT_EQ(answers[2].error.sqlstate, "42703");
    EXPECT_EQ(connection->Run({{&kDivide, &one}}, In(10))[0].rows.Int(0, 0), 1);
  }
  EXPECT_FALSE(connection->broken());
}

TEST(PgConnection, NoticesAreKeptWithTheirSqlstate) {
  const auto connection = OpenAt(SharedPair().Conninfo("postgres"), PgRole::kPrimary);
  constexpr PgStatement kWarn{"warn", "do $$ begin raise warning 'careful'; end $$"};
  ASSERT_TRUE(connection->Query(kWarn, {}, In(10)).ok());
  EXPECT_THAT(connection->TakeNotices(), ElementsAre("01000 careful"));
  EXPECT_TRUE(connection->TakeNotices().empty());
}

TEST(PgConnection, AnAnswerThatDoesNotComeBreaksTheConnection) {
  const auto connection = OpenAt(SharedPair().Conninfo("postgres"), PgRole::kPrimary);
  constexpr PgStatement kSleep{"sleep", "select pg_sleep(60)"};
  const PgParams none;
  const auto lost = connection->Run(
      {{&kSleep, &none}}, std::chrono::steady_clock::now() + std::chrono::milliseconds(50));
  EXPECT_EQ(lost[0].kind, PgAnswer::Kind::kLost);
  EXPECT_TRUE(connection->broken());
  EXPECT_EQ(connection->Run({{&kSleep, &none}}, In(1))[0].kind, PgAnswer::Kind::kNotSent);
}

TEST(PgConnection, AnEndedSessionIsNeverAnOrdinaryError) {
  const auto connection = OpenAt(SharedPair().Conninfo("postgres"), PgRole::kPrimary);
  constexpr PgStatement kEnd{"end", "select pg_terminate_backend(pg_backend_pid())"};
  const PgParams none;
  EXPECT_EQ(connection->Run({{&kEnd, &none}}, In(10))[0].kind, PgAnswer::Kind::kLost);
  EXPECT_TRUE(connection->broken());
}

}  // namespace
}  // namespace lockstep
