// What jemalloc is told at the start of a program that is linked with it (lockstep_jemalloc).
//
// librdkafka allocates each message on a broker's thread and we free it on the stream's: with glibc
// both threads then wait for one arena's lock, a quarter of all the time of a recovery. One arena
// is enough (each thread has a cache before it), and what is free goes back to the system after a
// second, so that the process does not keep what one big batch took once. Memory comes in huge pages
// where the kernel has them: parked records fill fresh pages one after the other, and with many
// writers the faults and the missing translations were a third of the time.
extern "C" {
extern const char* malloc_conf;  // Read by jemalloc; MALLOC_CONF in the environment goes over it.
const char* malloc_conf = "narenas:1,dirty_decay_ms:1000,muzzy_decay_ms:0,thp:always";
}
