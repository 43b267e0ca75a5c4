-- The ledger, version 1: tables and the functions that are the only way to them.
--
-- Keys begin with stream: all rows of one stream lie in one cluster and could be distributed or
-- partitioned by it. No foreign key and no sequence spans streams. docs/formats/ledger-schema.md
-- explains every table; db-ledger/ledger.h is the contract of the calls.
--
-- Locking, kept by every function here:
--   1. the row of `now`: FOR SHARE by whoever takes a term, FOR UPDATE by begin_epoch and solo_off;
--   2. registration (new stream, producer): one advisory lock;
--   3. heads, in (stream, producer) order;   4. cursors, in (stream, group) order;
--   5. checkpoints.
-- What a lock was waited for is read in a later statement: under READ COMMITTED a statement's
-- snapshot is older than the lock it waited for (C8).
--
-- A refusal is an exception whose SQLSTATE says which (see refuse); it leaves nothing behind.

create schema lockstep authorization lockstep_owner;
set local role lockstep_owner;
set local search_path = lockstep, pg_temp;

-- ---------------------------------------------------------------- tables

create table schema_version (version int primary key, applied timestamptz not null default clock_timestamp());

-- One row, so that whoever waits for its lock sees the new value (a re-checked `order by … limit 1`
-- would return the old row).
create table now (one boolean primary key default true check (one), epoch int not null);

create table epoch (
  epoch int primary key,
  solo boolean not null,
  cluster_id text not null default '',  -- The Kafka cluster that it is written to; '': the first open decides.
  reason text not null,
  role text not null,
  began timestamptz not null default clock_timestamp());

create table stream (
  stream bigint primary key,
  topic text not null,
  partition int not null,
  partition_count int not null,  -- 0: opened by a gate only, so far.
  unique (topic, partition));

create table producer (
  producer int primary key,
  name text not null unique,
  owner text not null,  -- The database role that first opened it.
  source text not null);

-- One producer's state on one stream; the only lock on the hot path. All updates are HOT: room on
-- the page, and no index on what changes.
create table head (
  stream bigint,
  producer int,
  term int not null,
  closed int not null default 0,
  epoch int not null,
  last_seq bigint not null default 0,
  next_offset bigint not null default 0,  -- Runs of this epoch lie at or above it.
  last_at text not null default '',
  primary key (stream, producer)) with (fillfactor = 50);

create table tenure (
  stream bigint,
  producer int,
  term int,
  epoch int not null,
  first_seq bigint not null,
  last_seq bigint,  -- Known when the next tenure begins.
  primary key (stream, producer, term));

create table run (
  stream bigint not null,
  first_seq bigint not null,
  last_seq bigint not null check (last_seq >= first_seq),
  digest bigint not null,
  producer int not null,
  epoch int not null,
  term int not null,
  format smallint not null default 1,  -- So that a packed form can follow.
  offsets int8multirange not null check (not isempty(offsets)),
  at_first text not null,
  at_last text not null,
  payload bytea,
  primary key (stream, producer, epoch, first_seq));  -- The only index; see last_run_from.
alter table run alter column payload set storage external;  -- It is compressed already.

create table checkpoint (producer int primary key, at text not null) with (fillfactor = 50);

create table log (
  stream bigint,
  epoch int,
  cluster_id text not null,
  topic text not null,
  start_offset bigint not null,
  primary key (stream, epoch));

create table gate_group (name text primary key, owner text);  -- No owner until first opened.

create table cursor (
  stream bigint,
  group_name text,
  term int not null,
  intent_epoch int,
  intent_offset bigint,
  done_epoch int,
  done_offset bigint,
  primary key (stream, group_name)) with (fillfactor = 50);

-- In per-producer mode a group's place is a seq per producer.
create table cursor_seq (
  stream bigint,
  group_name text,
  producer int,
  intent_seq bigint not null default 0,
  done_seq bigint not null default 0,
  primary key (stream, group_name, producer)) with (fillfactor = 50);

create table step (
  epoch int,
  step text,
  state text not null,
  detail text not null,
  at timestamptz not null default clock_timestamp(),
  primary key (epoch, step));

-- ---------------------------------------------------------------- refusals

create function refuse(p_refusal text, p_why text) returns void language plpgsql
set search_path = lockstep, pg_temp as $$
begin
  raise exception using message = p_why, errcode = case p_refusal
    when 'fenced' then 'LS001' when 'gap' then 'LS002' when 'differs' then 'LS003'
    when 'wrong-owner' then 'LS004' when 'no-durable-standby' then 'LS005'
    when 'wrong-epoch' then 'LS006' when 'not-found' then 'LS007'
    when 'source-changed' then 'LS008' when 'partitions-changed' then 'LS009'
    when 'log-changed' then 'LS010' else 'LS011' end;
end $$;

create function is_solo(p_epoch int) returns boolean language sql stable
set search_path = lockstep, pg_temp as
$$ select solo from epoch where epoch = p_epoch $$;

-- The producer's id if it belongs to the session's role.
create function own_producer(p_producer int) returns void language plpgsql
set search_path = lockstep, pg_temp as $$
declare
  p producer;
begin
  select * into p from producer where producer = p_producer;
  if not found then
    perform refuse('not-found', format('no producer %s', p_producer));
  elsif p.owner <> session_user then
    perform refuse('wrong-owner', format('producer %s belongs to role %s, not to %s', p.name, p.owner, session_user));
  end if;
end $$;

-- The stream's id; a new stream gets the next one. Two who register at once wait for each other.
create function register_stream(p_topic text, p_partition int, p_partition_count int) returns bigint language plpgsql
set search_path = lockstep, pg_temp as $$
declare
  s bigint;
begin
  select stream into s from stream where topic = p_topic and partition = p_partition;
  if not found then
    perform pg_advisory_xact_lock(hashtext('lockstep.register'));
    insert into stream select coalesce(max(stream), 0) + 1, p_topic, p_partition, p_partition_count from stream
      on conflict (topic, partition) do nothing;
    select stream into strict s from stream where topic = p_topic and partition = p_partition;
  end if;
  return s;
end $$;

-- ---------------------------------------------------------------- producers

create function open_producer(p_name text, p_source text, p_topic text, p_partition_count int, p_partitions bigint[],
    p_log_ends bigint[], p_cluster_id text, p_log_topic text)
returns table (o_producer int, o_epoch int, o_solo boolean, o_checkpoint text, o_stream bigint, o_partition int,
    o_term int, o_closed int, o_last_seq bigint, o_last_at text, o_adopt_from bigint)
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  e int;
  p producer;
  h head;
  l log;
  part record;
  known int;
  home text;
begin
  select epoch into strict e from now for share;
  select * into p from producer where name = p_name;
  if not found then
    perform pg_advisory_xact_lock(hashtext('lockstep.register'));
    insert into producer select coalesce(max(producer), 0) + 1, p_name, session_user, p_source from producer
      on conflict (name) do nothing;
    select * into strict p from producer where name = p_name;
  end if;
  perform own_producer(p.producer);
  if p.source <> p_source then
    perform refuse('source-changed', format('producer %s is known with source %s', p_name, p.source));
  end if;

  select max(partition_count) into known from stream
    where topic = p_topic and partition_count not in (0, p_partition_count);
  if known is not null then
    perform refuse('partitions-changed', format('topic %s is known with %s partitions, not %s', p_topic, known, p_partition_count));
  end if;
  -- A producer restarted at the lost site, whose database address moved along, must not claim the
  -- log of an epoch that was begun for another Kafka cluster.
  select cluster_id into strict home from epoch where epoch = e;
  if home not in ('', p_cluster_id) then
    perform refuse('log-changed', format('epoch %s is written to Kafka cluster %s, not to %s', e, home, p_cluster_id));
  end if;
  -- In the request's order, so that the ids come in it; the lock of register_stream lets only one
  -- register at a time, whatever the order.
  for part in select x.partition::int as partition from unnest(p_partitions) with ordinality x(partition, n) order by n loop
    perform register_stream(p_topic, part.partition, p_partition_count);
  end loop;
  update stream set partition_count = p_partition_count where topic = p_topic and partition_count = 0;

  for part in
    select s.stream, s.partition, x.log_end
    from unnest(p_partitions, p_log_ends) x(partition, log_end)
    join stream s on s.topic = p_topic and s.partition = x.partition
    order by s.stream
  loop
    insert into log values (part.stream, e, p_cluster_id, p_log_topic, part.log_end) on conflict do nothing;
    select * into strict l from log where stream = part.stream and epoch = e;
    if l.cluster_id <> p_cluster_id or l.topic <> p_log_topic then
      perform refuse('log-changed', format('the log of %s/%s in epoch %s is topic %s of cluster %s',
                                           p_topic, part.partition, e, l.topic, l.cluster_id));
    end if;
    insert into head (stream, producer, term, epoch, next_offset)
      values (part.stream, p.producer, 1, e, l.start_offset)
      on conflict (stream, producer) do update
        set term = head.term + 1, epoch = e, next_offset = greatest(head.next_offset, l.start_offset)
      returning * into h;
    update tenure set last_seq = h.last_seq
      where stream = h.stream and producer = h.producer and term = h.term - 1;
    insert into tenure values (h.stream, h.producer, h.term, e, h.last_seq + 1, null);
  end loop;

  return query
    select p.producer, e, is_solo(e), (select c.at from checkpoint c where c.producer = p.producer), h2.stream,
           s.partition, h2.term, h2.closed, h2.last_seq, h2.last_at, h2.next_offset
    from unnest(p_partitions) with ordinality x(partition, n)
    join stream s on s.topic = p_topic and s.partition = x.partition
    join head h2 on h2.stream = s.stream and h2.producer = p.producer
    order by n;
end $$;

create function close_earlier_terms(p_producer int, p_streams bigint[], p_terms bigint[]) returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  x record;
  h head;
begin
  perform own_producer(p_producer);
  for x in select u.stream, u.term from unnest(p_streams, p_terms) u(stream, term) order by u.stream loop
    update head set closed = term where stream = x.stream and producer = p_producer and term = x.term returning * into h;
    if not found then
      perform refuse('fenced', format('term %s on stream %s is not the newest', x.term, x.stream));
    end if;
  end loop;
  return is_solo(h.epoch);
end $$;

-- REQUIRES: runs in (stream, seq) order; offsets count as many as seqs.
create function append(p_producer int, p_streams bigint[], p_tenure_terms bigint[], p_terms bigint[], p_firsts bigint[],
    p_lasts bigint[], p_offsets int8multirange[], p_ats_first text[], p_ats_last text[], p_digests bigint[],
    p_payloads bytea[], p_checkpoint text)
returns table (o_epoch int, o_solo boolean, o_again boolean)
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  x record;
  h head;
  r run;
  again boolean := true;
  previous bigint := 0;
begin
  perform own_producer(p_producer);
  for x in
    select * from unnest(p_streams, p_tenure_terms, p_terms, p_firsts, p_lasts, p_offsets, p_ats_first, p_ats_last,
                         p_digests, p_payloads)
      u(stream, tenure_term, term, first, last, offsets, at_first, at_last, digest, payload)
  loop
    if x.stream < previous then
      perform refuse('invalid', 'runs are appended in stream order, as their heads are locked');
    end if;
    previous := x.stream;
    -- The fence, the gap check and the lock in one (C8, I7).
    update head set last_seq = x.last, last_at = x.at_last, next_offset = upper(x.offsets)
      where stream = x.stream and producer = p_producer and term = x.tenure_term and last_seq = x.first - 1
        and closed <= x.term and next_offset <= lower(x.offsets)
      returning * into h;
    if found then
      insert into run (stream, first_seq, last_seq, digest, producer, epoch, term, offsets, at_first, at_last, payload)
        values (x.stream, x.first, x.last, x.digest, p_producer, h.epoch, x.term, x.offsets, x.at_first, x.at_last, x.payload);
      again := false;
      continue;
    end if;
    -- A repeat, or a refusal. It touches the head all the same: the commit has WAL to wait for (C3).
    update head set last_seq = last_seq where stream = x.stream and producer = p_producer returning * into h;
    if not found then
      perform refuse('fenced', format('no tenure on stream %s', x.stream));
    elsif h.term <> x.tenure_term then
      perform refuse('fenced', format('run [%s,%s] of stream %s: term %s is not the newest, %s is', x.first, x.last, x.stream, x.tenure_term, h.term));
    elsif x.first > h.last_seq + 1 then
      perform refuse('gap', format('run [%s,%s] of stream %s: the head is at seq %s', x.first, x.last, x.stream, h.last_seq));
    elsif x.first <= h.last_seq then
      select * into r from run
        where stream = x.stream and producer = p_producer and epoch = h.epoch and first_seq = x.first;
      if not found or (r.last_seq, r.offsets, r.term, r.digest, r.at_first, r.at_last, coalesce(r.payload, ''))
          is distinct from (x.last, x.offsets, x.term, x.digest, x.at_first, x.at_last, coalesce(x.payload, '')) then
        perform refuse('differs', format('run [%s,%s] of stream %s: these seqs are ledgered with other content', x.first, x.last, x.stream));
      end if;
    elsif x.term < h.closed then
      perform refuse('invalid', format('run [%s,%s] of stream %s: term %s is closed', x.first, x.last, x.stream, x.term));
    else
      perform refuse('invalid', format('run [%s,%s] of stream %s: offset %s goes back behind %s', x.first, x.last, x.stream, lower(x.offsets), h.next_offset));
    end if;
  end loop;
  if p_checkpoint is not null then
    insert into checkpoint values (p_producer, p_checkpoint) on conflict (producer) do update set at = excluded.at;
  end if;
  return query select h.epoch, is_solo(h.epoch), again;  -- Read under the row lock: see solo_off.
end $$;

create function seal(p_name text) returns setof bigint
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  e int;
  p producer;
  h head;
begin
  select epoch into strict e from now for share;
  select * into p from producer where name = p_name;
  if not found then
    perform refuse('not-found', format('no producer %s', p_name));
  end if;
  perform 1 from head where producer = p.producer order by stream for no key update;
  for h in select * from head where producer = p.producer order by stream loop
    update head set term = h.term + 1, closed = h.term + 1, epoch = e where stream = h.stream and producer = h.producer;
    update tenure set last_seq = h.last_seq where stream = h.stream and producer = h.producer and term = h.term;
    insert into tenure values (h.stream, h.producer, h.term + 1, e, h.last_seq + 1, null);
    return next h.stream;
  end loop;
end $$;

-- ---------------------------------------------------------------- gates

create function open_gate(p_group text, p_topics text[], p_partitions bigint[], p_create boolean)
returns table (o_epoch int, o_solo boolean, o_stream bigint, o_term int, o_intent_epoch int, o_intent_offset bigint,
    o_done_epoch int, o_done_offset bigint)
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  e int;
  group_owner text;
  x record;
begin
  select epoch into strict e from now for share;
  insert into gate_group values (p_group, session_user)
    on conflict (name) do update set owner = coalesce(gate_group.owner, session_user)
    returning owner into group_owner;
  if group_owner <> session_user then
    perform refuse('wrong-owner', format('group %s belongs to role %s, not to %s', p_group, group_owner, session_user));
  end if;
  for x in select u.topic, u.partition::int as partition
           from unnest(p_topics, p_partitions) with ordinality u(topic, partition, n) order by n loop
    if not p_create and not exists (select from cursor c join stream s using (stream)
        where s.topic = x.topic and s.partition = x.partition and c.group_name = p_group) then
      perform refuse('not-found', format('group %s has no cursor on %s/%s', p_group, x.topic, x.partition));
    end if;
    perform register_stream(x.topic, x.partition, 0);
  end loop;
  for x in select s.stream from unnest(p_topics, p_partitions) u(topic, partition)
           join stream s on s.topic = u.topic and s.partition = u.partition order by s.stream loop
    insert into cursor (stream, group_name, term) values (x.stream, p_group, 1)
      on conflict (stream, group_name) do update set term = cursor.term + 1;
  end loop;
  return query
    select e, is_solo(e), c.stream, c.term, c.intent_epoch, c.intent_offset, c.done_epoch, c.done_offset
    from unnest(p_topics, p_partitions) with ordinality u(topic, partition, n)
    join stream s on s.topic = u.topic and s.partition = u.partition
    join cursor c on c.stream = s.stream and c.group_name = p_group
    order by n;
end $$;

create function move_cursor(p_group text, p_stream bigint, p_term bigint, p_intent_epoch bigint, p_intent_offset bigint,
    p_done_epoch bigint, p_done_offset bigint) returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  c record;
  group_owner text;
  e int;
begin
  select * into c from cursor where stream = p_stream and group_name = p_group for no key update;
  if not found then
    perform refuse('not-found', format('group %s has no cursor on stream %s', p_group, p_stream));
  end if;
  select owner into group_owner from gate_group where name = p_group;
  if group_owner <> session_user then
    perform refuse('wrong-owner', format('group %s belongs to role %s, not to %s', p_group, group_owner, session_user));
  elsif c.term <> p_term then
    perform refuse('fenced', format('term %s is not the newest, %s is', p_term, c.term));
  end if;
  p_intent_offset := case when p_intent_epoch is null then c.intent_offset else p_intent_offset end;
  p_intent_epoch := coalesce(p_intent_epoch, c.intent_epoch);
  p_done_offset := case when p_done_epoch is null then c.done_offset else p_done_offset end;
  p_done_epoch := coalesce(p_done_epoch, c.done_epoch);
  if (coalesce(p_intent_epoch, 0), coalesce(p_intent_offset, 0)) < (coalesce(c.intent_epoch, 0), coalesce(c.intent_offset, 0))
      or (coalesce(p_done_epoch, 0), coalesce(p_done_offset, 0)) < (coalesce(c.done_epoch, 0), coalesce(c.done_offset, 0))
      or (coalesce(p_done_epoch, 0), coalesce(p_done_offset, 0)) > (coalesce(p_intent_epoch, 0), coalesce(p_intent_offset, 0)) then
    perform refuse('invalid', 'a cursor never goes back, and done ≤ intent');
  end if;
  update cursor set intent_epoch = p_intent_epoch, intent_offset = p_intent_offset,
                    done_epoch = p_done_epoch, done_offset = p_done_offset
    where stream = p_stream and group_name = p_group;
  select epoch into strict e from now;
  return is_solo(e);
end $$;

create function set_cursor(p_group text, p_stream bigint, p_epoch bigint, p_offset bigint) returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  e int;
begin
  select epoch into strict e from now for share;
  if not exists (select from stream where stream = p_stream) then
    perform refuse('not-found', format('no stream %s', p_stream));
  end if;
  insert into gate_group values (p_group, null) on conflict do nothing;
  insert into cursor values (p_stream, p_group, 1, p_epoch, p_offset, p_epoch, p_offset)
    on conflict (stream, group_name) do update
      set term = cursor.term + 1, intent_epoch = p_epoch, intent_offset = p_offset, done_epoch = p_epoch, done_offset = p_offset;
  return is_solo(e);
end $$;

-- ---------------------------------------------------------------- epochs

create function standby_waited_for() returns boolean language sql stable
set search_path = lockstep, pg_temp as
$$ select exists (select from pg_stat_replication where sync_state in ('sync', 'quorum')) $$;

-- Heads first: that waits for appends under way. Where they ended is read in a later statement.
create function begin_epoch(p_expected bigint, p_solo boolean, p_cluster_id text, p_reason text) returns int
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  e int;
begin
  select epoch into strict e from now for update;
  if e <> p_expected then
    perform refuse('wrong-epoch', format('the epoch is %s, not %s', e, p_expected));
  end if;
  if not standby_waited_for() and (not p_solo or current_setting('synchronous_standby_names') <> '') then
    perform refuse('no-durable-standby', case when p_solo
      then 'synchronous_standby_names names a standby that is not there, every commit would hang: set it to '''' and reload'
      else 'no synchronous standby is connected; begin the epoch solo, or connect one' end);
  end if;
  e := e + 1;
  update now set epoch = e;
  insert into epoch (epoch, solo, cluster_id, reason, role) values (e, p_solo, p_cluster_id, p_reason, session_user);
  perform 1 from head order by stream, producer for no key update;
  update head set term = term + 1, closed = term + 1, epoch = e, next_offset = 0;
  update tenure n set last_seq = h.last_seq from head h
    where (n.stream, n.producer, n.term) = (h.stream, h.producer, h.term - 1);
  insert into tenure select stream, producer, term, e, last_seq + 1, null from head;
  perform 1 from cursor order by stream, group_name for no key update;
  update cursor set term = term + 1;
  return e;
end $$;

-- Whoever commits after this has waited for a row touched here, and sees that solo is over.
create function solo_off() returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  e int;
begin
  select epoch into strict e from now for update;
  if not standby_waited_for() then
    perform refuse('no-durable-standby', 'no synchronous standby is connected: set synchronous_standby_names and start it');
  end if;
  update epoch set solo = false where epoch = e;
  perform 1 from head order by stream, producer for no key update;
  update head set term = term;
  perform 1 from cursor order by stream, group_name for no key update;
  update cursor set term = term;
  return false;
end $$;

create function record_step(p_epoch bigint, p_step text, p_state text, p_detail text) returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  e int;
begin
  insert into step values (p_epoch, p_step, p_state, p_detail)
    on conflict (epoch, step) do update set state = excluded.state, detail = excluded.detail, at = clock_timestamp();
  select epoch into strict e from now;
  return is_solo(e);
end $$;

-- Forgets runs that end below a position. Each producer's newest run stays: a repeated append is
-- decided by it.
create function prune(p_stream bigint, p_epoch bigint, p_offset bigint) returns bigint
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  lowest record;
  pruned bigint;
begin
  select coalesce(done_epoch, 0) as epoch, coalesce(done_offset, 0) as at, group_name into lowest
    from cursor where stream = p_stream order by 1, 2 limit 1;
  if found and (p_epoch, p_offset) > (lowest.epoch, lowest.at + 1) then
    perform refuse('invalid', format('group %s has sent only up to %s:%s', lowest.group_name, lowest.epoch, lowest.at));
  end if;
  delete from run r where r.stream = p_stream and (r.epoch, upper(r.offsets)) <= (p_epoch, p_offset)
    and exists (select from run n where n.stream = r.stream and n.producer = r.producer and n.epoch >= r.epoch and n.first_seq > r.first_seq);
  get diagnostics pruned = row_count;
  return pruned;
end $$;

-- ---------------------------------------------------------------- reads

create function read_now() returns table (o_epoch int, o_solo boolean)
language sql stable security definer set search_path = lockstep, pg_temp as
$$ select n.epoch, e.solo from now n join epoch e using (epoch) $$;

create function streams(p_topic text) returns table (o_stream bigint, o_topic text, o_partition int, o_partition_count int)
language sql stable security definer set search_path = lockstep, pg_temp as
$$ select * from stream where p_topic is null or topic = p_topic $$;

create function producers() returns table (o_producer int, o_name text, o_source text, o_checkpoint text, o_owner text)
language sql stable security definer set search_path = lockstep, pg_temp as
$$ select p.producer, p.name, p.source, c.at, p.owner from producer p left join checkpoint c using (producer) order by 1 $$;

-- One snapshot of a stream in one statement: the epoch (kind 0), the heads (1), each producer's next
-- runs (2; one more than p_limit if there are more). A producer without a mark begins at its first.
create function read_stream(p_stream bigint, p_producers bigint[], p_epochs bigint[], p_seqs bigint[], p_limit bigint,
    p_payload boolean)
returns table (o_kind int, o_producer int, o_epoch int, o_term int, o_closed int, o_first bigint, o_last bigint,
    o_digest bigint, o_text1 text, o_text2 text, o_offsets int8multirange, o_payload bytea, o_solo boolean)
language plpgsql stable security definer set search_path = lockstep, pg_temp as $$
begin
  return query
  with marks as materialized (
    select m.producer::int as producer, least(m.epoch, 2147483647)::int as epoch, m.seq from unnest(p_producers, p_epochs, p_seqs) m(producer, epoch, seq))
  (select 0, 0, e.epoch, 0, 0, 0::bigint, 0::bigint, 0::bigint, ''::text, ''::text, null::int8multirange, null::bytea, e.solo
   from stream s, now n join epoch e using (epoch) where s.stream = p_stream)
  union all
  (select 1, h.producer, h.epoch, h.term, h.closed, 0::bigint, h.last_seq, 0::bigint, p.name, h.last_at, null, null, false
   from head h join producer p using (producer) where h.stream = p_stream order by h.producer)
  union all
  (select 2, r.producer, r.epoch, r.term, 0, r.first_seq, r.last_seq, r.digest, r.at_first, r.at_last, r.offsets,
          case when p_payload then r.payload end, false
   from (select h.producer, coalesce(m.epoch, 0) as epoch, coalesce(m.seq, 0) as seq
         from head h left join marks m using (producer) where h.stream = p_stream order by h.producer) a
   cross join lateral (
     select * from run r where r.stream = p_stream and r.producer = a.producer and (r.epoch, r.first_seq) > (a.epoch, a.seq)
     order by r.epoch, r.first_seq limit p_limit + 1) r);
end $$;

-- The first seq of a producer's last run in an epoch that begins at or below an offset; null if there is none. Offsets ascend with seqs
-- (I1), so halving the seqs finds it: some 30 probes of the primary key, where an index on offsets would cost a fifth of each row.
create function last_run_from(p_stream bigint, p_producer int, p_epoch int, p_offset bigint) returns bigint
language plpgsql stable set search_path = lockstep, pg_temp as $$
declare
  v_found bigint;
  v_low bigint;
  v_high bigint;
  v_middle record;
begin
  select min(first_seq), max(first_seq) into v_low, v_high from run
  where stream = p_stream and producer = p_producer and epoch = p_epoch;
  while v_low <= v_high loop  -- Not entered without runs: both are null.
    select r.first_seq, lower(r.offsets) as first_offset into v_middle from run r
    where r.stream = p_stream and r.producer = p_producer and r.epoch = p_epoch and r.first_seq <= v_low + (v_high - v_low) / 2
    order by r.first_seq desc limit 1;
    if v_middle.first_offset <= p_offset then
      v_found := v_middle.first_seq;
      v_low := v_low + (v_high - v_low) / 2 + 1;
    else
      v_high := v_middle.first_seq - 1;
    end if;
  end loop;
  return v_found;
end $$;

-- Of each producer the last run that ends at or below the position.
create function marks_after(p_stream bigint, p_epoch bigint, p_offset bigint)
returns table (o_producer int, o_epoch int, o_first bigint)
language sql stable security definer set search_path = lockstep, pg_temp as $$
  select h.producer, r.epoch, r.first_seq
  from head h
  cross join lateral (
    select c.epoch, c.first_seq from (
      -- In this epoch the last that begins there, and the one before (the last may go beyond) …
      (select x.epoch, x.first_seq, x.offsets from run x
       where x.stream = p_stream and x.producer = h.producer and x.epoch = p_epoch
         and x.first_seq <= last_run_from(p_stream, h.producer, p_epoch::int, p_offset)
       order by x.first_seq desc limit 2)
      union all  -- … or the last of the epochs before.
      (select x.epoch, x.first_seq, x.offsets from run x
       where x.stream = p_stream and x.producer = h.producer and x.epoch < p_epoch
       order by x.epoch desc, x.first_seq desc limit 1)) c
    where c.epoch < p_epoch or upper(c.offsets) - 1 <= p_offset
    order by c.epoch desc, c.first_seq desc limit 1) r
  where h.stream = p_stream
$$;

-- Who wrote the record at a position; no row if none of ours is ledgered there.
create function at(p_stream bigint, p_epoch int, p_offset bigint)
returns table (o_producer text, o_term int, o_seq bigint)
language sql stable security definer set search_path = lockstep, pg_temp as $$
  select p.name, r.term,
         r.first_seq + (select sum(least(upper(x), p_offset) - lower(x)) from unnest(r.offsets) x where lower(x) <= p_offset)::bigint
  from head h join producer p using (producer)
  cross join lateral (
    select * from run r where r.stream = p_stream and r.producer = h.producer and r.epoch = p_epoch
      and r.first_seq = last_run_from(p_stream, h.producer, p_epoch, p_offset)) r
  where h.stream = p_stream and r.offsets @> p_offset
$$;

create function logs(p_stream bigint) returns table (o_epoch int, o_cluster_id text, o_topic text, o_start bigint)
language sql stable security definer set search_path = lockstep, pg_temp as
$$ select epoch, cluster_id, topic, start_offset from log where stream = p_stream order by epoch $$;

create function cursors() returns table (o_group text, o_stream bigint, o_term int, o_intent_epoch int, o_intent_offset bigint,
    o_done_epoch int, o_done_offset bigint)
language sql stable security definer set search_path = lockstep, pg_temp as
$$ select group_name, stream, term, intent_epoch, intent_offset, done_epoch, done_offset from cursor
   order by group_name collate "C", stream $$;

create function epochs() returns table (o_epoch int, o_solo boolean, o_cluster_id text, o_reason text, o_role text, o_began_ms bigint)
language sql stable security definer set search_path = lockstep, pg_temp as
$$ select epoch, solo, cluster_id, reason, role, (extract(epoch from began) * 1000)::bigint from epoch order by epoch $$;

create function steps(p_epoch bigint) returns table (o_step text, o_state text, o_detail text, o_at_ms bigint)
language sql stable security definer set search_path = lockstep, pg_temp as
$$ select step, state, detail, (extract(epoch from at) * 1000)::bigint from step where epoch = p_epoch order by step collate "C" $$;

-- ---------------------------------------------------------------- who is durable

-- The primary's side. The flush LSN, not insert or write; the timeline from the WAL file's name
-- (pg_control_checkpoint() is stale after a promotion).
create function primary_facts() returns table (o_in_recovery boolean, o_system_identifier bigint, o_timeline bigint, o_flushed pg_lsn)
language plpgsql security definer set search_path = lockstep, pg_temp as $$
begin
  if pg_is_in_recovery() then
    return query select true, (pg_control_system()).system_identifier, 0::bigint, '0/0'::pg_lsn;
  else
    return query select false, (pg_control_system()).system_identifier,
      ('x' || substr(pg_walfile_name(f.lsn), 1, 8))::bit(32)::bigint, f.lsn
      from (select pg_current_wal_flush_lsn() as lsn) f;
  end if;
end $$;

-- The standby's side. No receiver: no status. (pg_last_wal_receive_lsn() alone still answers after a
-- promotion.)
create function witness_facts() returns table (o_in_recovery boolean, o_system_identifier bigint, o_status text, o_timeline int, o_flushed pg_lsn)
language sql security definer set search_path = lockstep, pg_temp as
$$ select pg_is_in_recovery(), (pg_control_system()).system_identifier, r.status, r.received_tli, r.flushed_lsn
   from (select 1) one left join pg_stat_wal_receiver r on true $$;

create function standbys() returns table (o_name text, o_state text, o_sync_state text, o_lag_bytes bigint)
language sql security definer set search_path = lockstep, pg_temp as
$$ select application_name, state, sync_state,
          case when pg_is_in_recovery() then null else pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn)::bigint end
   from pg_stat_replication order by application_name $$;

-- ---------------------------------------------------------------- who may call what

revoke all on all functions in schema lockstep from public;
grant usage on schema lockstep to lockstep_reader;
grant execute on function read_now(), streams(text), producers(), read_stream(bigint, bigint[], bigint[], bigint[], bigint, boolean),
  marks_after(bigint, bigint, bigint), at(bigint, int, bigint), logs(bigint), cursors(), epochs(), steps(bigint),
  primary_facts(), witness_facts(), standbys() to lockstep_reader;
grant execute on function open_producer(text, text, text, int, bigint[], bigint[], text, text),
  close_earlier_terms(int, bigint[], bigint[]),
  append(int, bigint[], bigint[], bigint[], bigint[], bigint[], int8multirange[], text[], text[], bigint[], bytea[], text)
  to lockstep_writer;
grant execute on function open_gate(text, text[], bigint[], boolean),
  move_cursor(text, bigint, bigint, bigint, bigint, bigint, bigint) to lockstep_gate;
grant execute on function seal(text), begin_epoch(bigint, boolean, text, text), solo_off(), set_cursor(text, bigint, bigint, bigint),
  record_step(bigint, text, text, text), prune(bigint, bigint, bigint) to lockstep_admin;

insert into schema_version values (1);
reset role;
