#include "producer/pika/command_table.h"

#include "absl/container/flat_hash_map.h"

namespace lockstep::pika {
namespace {

using Table = absl::flat_hash_map<std::string, CommandInfo>;

const Table& Commands() {
  static const Table& table = *new Table([] {
    Table commands;
    const auto add = [&](DataType type, size_t key_index,
                         std::initializer_list<const char*> names) {
      for (const char* name : names) commands[name] = {type, key_index, true};
    };
    add(DataType::kString, 1,
        {"set",    "setex",       "psetex", "setnx",  "mset",    "msetnx",   "incr",
         "incrby", "incrbyfloat", "decr",   "decrby", "append",  "getset",   "setrange",
         "setbit", "delvx",       "setvx",  "pfadd",  "pfmerge", "pksetexat"});
    add(DataType::kString, 2, {"bitop"});
    add(DataType::kKey, 1,
        {"del", "unlink", "expire", "pexpire", "expireat", "pexpireat", "persist"});
    add(DataType::kHash, 1, {"hset", "hmset", "hdel", "hsetnx", "hincrby", "hincrbyfloat"});
    add(DataType::kList, 1,
        {"lpush", "rpush", "lpushx", "rpushx", "lset", "ltrim", "lrem", "linsert", "lpop", "rpop",
         "rpoplpush", "blpop", "brpop"});
    add(DataType::kSet, 1,
        {"sadd", "srem", "spop", "smove", "sunionstore", "sinterstore", "sdiffstore"});
    add(DataType::kZset, 1,
        {"zadd", "zincrby", "zrem", "zremrangebyrank", "zremrangebyscore", "zremrangebylex",
         "zpopmax", "zpopmin", "zunionstore", "zinterstore", "geoadd"});
    add(DataType::kStream, 1, {"xadd", "xdel", "xtrim"});
    add(DataType::kDatabase, 0, {"flushdb", "flushall", "pkpatternmatchdel"});
    for (const char* name : {"padding", "dummy", "clearcache", "clearreplicationid",
                             "slotsmgrt-exec-wrapper", "sunion", "sinter", "sdiff"}) {
      commands[name] = {DataType::kUnknown, 0, false};
    }
    return commands;
  }());
  return table;
}

}  // namespace

std::string_view ToString(DataType type) {
  switch (type) {
    case DataType::kString:
      return "string";
    case DataType::kHash:
      return "hash";
    case DataType::kList:
      return "list";
    case DataType::kSet:
      return "set";
    case DataType::kZset:
      return "zset";
    case DataType::kStream:
      return "stream";
    case DataType::kKey:
      return "key";
    case DataType::kDatabase:
      return "database";
    case DataType::kUnknown:
      return "unknown";
  }
  return "unknown";
}

CommandInfo FindCommand(std::string_view lower_name) {
  const auto found = Commands().find(std::string(lower_name));
  return found == Commands().end() ? CommandInfo() : found->second;
}

std::string ToLower(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

bool IsInternalKey(std::string_view key) {
  for (const std::string_view prefix :
       {"_internal:slotkey:4migrate:", "_internal:slottag:4migrate:"}) {
    if (key.substr(0, prefix.size()) == prefix) return true;
  }
  return false;
}

}  // namespace lockstep::pika
