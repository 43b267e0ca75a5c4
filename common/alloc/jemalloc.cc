// What jemalloc is told at the start of a program that is linked with it (lockstep_jemalloc).
//
// librdkafka allocates each message on a broker's thread and we free it on the stream's: with glibc
// both threads then wait for one arena's lock, a quarter of all the time of a recovery. One arena
// is enough (each thread has a cache before it). What is free goes back to the system within ten
// seconds, so that the process does not keep what one big batch took once; after one second it was
// the fetched answers' own memory, and clearing it for the next ones was a fifth of the time.
// Memory comes in huge pages where the kernel has them: parked records fill fresh pages one after
// the other, and with many writers the faults and the missing translations were a third of the
// time. A big free piece may be cut for small ones: else what many parked records left behind is of
// no use to the next ones, and a process that parked 500 MB three times took 1,300.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): so jemalloc declares it.
extern "C" {
extern const char* malloc_conf;  // Read by jemalloc; MALLOC_CONF in the environment goes over it.
const char* malloc_conf =
    "narenas:1,lg_extent_max_active_fit:20,dirty_decay_ms:10000,muzzy_decay_ms:0,thp:always";
}
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)
