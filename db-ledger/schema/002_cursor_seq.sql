-- The ledger, version 2: gates that keep a seq per producer (--mode per-producer).
--
-- A cursor is of one kind from its creation on: positions in its own row, or seqs in cursor_seq. Its
-- term stands in its row in either case, so begin_epoch and solo_off need not know, and its row's lock
-- guards its rows in cursor_seq. Version 1's functions stay as they are, under another name
-- (…_any: whatever the kind), and the kind is looked at in the same transaction: a refusal undoes
-- what they did. Gates of version 1 go on through the upgrade.

set local role lockstep_owner;
set local search_path = lockstep, pg_temp;

alter table cursor add column by_seq boolean not null default false;

alter function open_gate(text, text[], bigint[], boolean) rename to open_gate_any;
alter function move_cursor(text, bigint, bigint, bigint, bigint, bigint, bigint) rename to move_cursor_any;
alter function set_cursor(text, bigint, bigint, bigint) rename to set_cursor_any;

-- ---------------------------------------------------------------- the kind

-- REQUIRES: the cursor's row is there, or was locked by this transaction. Its kind never changes.
create function check_kind(p_group text, p_stream bigint, p_by_seq boolean) returns void
language plpgsql set search_path = lockstep, pg_temp as $$
declare
  name text;
begin
  select s.topic || '/' || s.partition into name from cursor c join stream s using (stream)
    where c.stream = p_stream and c.group_name = p_group and c.by_seq <> p_by_seq;
  if found then
    raise exception using errcode = 'LS012', message = format('group %s keeps %s on %s; take another group', p_group,
      case when p_by_seq then 'a position (--mode gate, recover or replay)' else 'a seq per producer (--mode per-producer)' end, name);
  end if;
end $$;

-- A cursor is made with term 1, and whoever takes it later takes a higher one.
create function make_by_seq(p_group text, p_stream bigint) returns void
language plpgsql set search_path = lockstep, pg_temp as $$
begin
  update cursor set by_seq = true where stream = p_stream and group_name = p_group and term = 1;
  perform check_kind(p_group, p_stream, true);
end $$;

-- ---------------------------------------------------------------- cursors of positions

create function open_gate(p_group text, p_topics text[], p_partitions bigint[], p_create boolean)
returns table (o_epoch int, o_solo boolean, o_stream bigint, o_term int, o_intent_epoch int, o_intent_offset bigint,
    o_done_epoch int, o_done_offset bigint)
language plpgsql security definer set search_path = lockstep, pg_temp as $$
begin
  return query select * from open_gate_any(p_group, p_topics, p_partitions, p_create);
  perform check_kind(p_group, s.stream, false)
    from unnest(p_topics, p_partitions) with ordinality u(topic, partition, n)
    join stream s on s.topic = u.topic and s.partition = u.partition order by n;
end $$;

create function move_cursor(p_group text, p_stream bigint, p_term bigint, p_intent_epoch bigint, p_intent_offset bigint,
    p_done_epoch bigint, p_done_offset bigint) returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
begin
  perform check_kind(p_group, p_stream, false);
  return move_cursor_any(p_group, p_stream, p_term, p_intent_epoch, p_intent_offset, p_done_epoch, p_done_offset);
end $$;

create function set_cursor(p_group text, p_stream bigint, p_epoch bigint, p_offset bigint) returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  solo boolean := set_cursor_any(p_group, p_stream, p_epoch, p_offset);
begin
  perform check_kind(p_group, p_stream, false);
  return solo;
end $$;

-- ---------------------------------------------------------------- cursors of seqs

create function check_producers(p_stream bigint, p_producers bigint[]) returns void
language plpgsql set search_path = lockstep, pg_temp as $$
declare
  missing bigint;
begin
  select u.producer into missing from unnest(p_producers) u(producer)
    where not exists (select from head h where h.stream = p_stream and h.producer = u.producer) order by 1 limit 1;
  if found then
    perform refuse('not-found', format('stream %s has no producer %s', p_stream, missing));
  end if;
end $$;

-- One row for the cursor (producer 0), then one a producer that it knows.
create function open_gate_seq(p_group text, p_topic text, p_partition bigint, p_create boolean)
returns table (o_epoch int, o_solo boolean, o_stream bigint, o_term int, o_producer int, o_intent bigint, o_done bigint)
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  g record;
begin
  select * into strict g from open_gate_any(p_group, array[p_topic], array[p_partition], p_create);
  perform make_by_seq(p_group, g.o_stream);
  return query
    select g.o_epoch, g.o_solo, g.o_stream, g.o_term, 0, 0::bigint, 0::bigint
    union all
    select g.o_epoch, g.o_solo, g.o_stream, g.o_term, c.producer, c.intent_seq, c.done_seq
      from cursor_seq c where c.stream = g.o_stream and c.group_name = p_group order by 5;
end $$;

create function move_cursor_seq(p_group text, p_stream bigint, p_term bigint, p_producers bigint[], p_intents bigint[], p_dones bigint[])
returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  solo boolean;
begin
  perform check_kind(p_group, p_stream, true);
  -- Locks the cursor, refuses strangers and old terms; the position of a cursor of seqs is null and stays so.
  solo := move_cursor_any(p_group, p_stream, p_term, null, null, null, null);
  perform check_producers(p_stream, p_producers);
  if exists (select from unnest(p_producers, p_intents, p_dones) u(producer, intent, done)
             left join cursor_seq s on s.stream = p_stream and s.group_name = p_group and s.producer = u.producer
             where u.intent < coalesce(s.intent_seq, 0) or u.done < coalesce(s.done_seq, 0) or u.done > u.intent) then
    perform refuse('invalid', 'a cursor never goes back, and done ≤ intent');
  end if;
  insert into cursor_seq
    select p_stream, p_group, u.producer, u.intent, u.done from unnest(p_producers, p_intents, p_dones) u(producer, intent, done)
    on conflict (stream, group_name, producer) do update set intent_seq = excluded.intent_seq, done_seq = excluded.done_seq;
  return solo;
end $$;

create function set_cursor_seq(p_group text, p_stream bigint, p_producer bigint, p_seq bigint) returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  solo boolean := set_cursor_any(p_group, p_stream, null, null);
begin
  perform make_by_seq(p_group, p_stream);
  perform check_producers(p_stream, array[p_producer]);
  insert into cursor_seq values (p_stream, p_group, p_producer, p_seq, p_seq)
    on conflict (stream, group_name, producer) do update set intent_seq = p_seq, done_seq = p_seq;
  return solo;
end $$;

-- ---------------------------------------------------------------- prune

-- As before, and nothing that a cursor of seqs has still to send.
create or replace function prune(p_stream bigint, p_epoch bigint, p_offset bigint) returns bigint
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  lowest record;
  gone record;
  pruned bigint := 0;
begin
  select coalesce(done_epoch, 0) as epoch, coalesce(done_offset, 0) as at, group_name into lowest
    from cursor where stream = p_stream and not by_seq order by 1, 2 limit 1;
  if found and (p_epoch, p_offset) > (lowest.epoch, lowest.at + 1) then
    perform refuse('invalid', format('group %s has sent only up to %s:%s', lowest.group_name, lowest.epoch, lowest.at));
  end if;
  for gone in
    with deleted as (
      delete from run r where r.stream = p_stream and (r.epoch, upper(r.offsets)) <= (p_epoch, p_offset)
        and exists (select from run n where n.stream = r.stream and n.producer = r.producer and n.epoch >= r.epoch and n.first_seq > r.first_seq)
        returning r.producer, r.last_seq)
    select d.producer, p.name, count(*) as runs, max(d.last_seq) as last_seq from deleted d join producer p using (producer) group by 1, 2
  loop
    select c.group_name, coalesce(s.done_seq, 0) as seq into lowest
      from cursor c left join cursor_seq s on s.stream = c.stream and s.group_name = c.group_name and s.producer = gone.producer
      where c.stream = p_stream and c.by_seq order by 2, 1 limit 1;
    if found and lowest.seq < gone.last_seq then
      perform refuse('invalid', format('group %s has sent only up to seq %s of producer %s', lowest.group_name, lowest.seq, gone.name));
    end if;
    pruned := pruned + gone.runs;
  end loop;
  return pruned;
end $$;

-- ---------------------------------------------------------------- reads

-- One row for each cursor (producer 0), and one a producer.
create function cursor_seqs()
returns table (o_group text, o_stream bigint, o_term int, o_producer int, o_intent bigint, o_done bigint)
language sql stable security definer set search_path = lockstep, pg_temp as $$
  select group_name, stream, term, 0, 0::bigint, 0::bigint from cursor where by_seq
  union all
  select c.group_name, c.stream, c.term, s.producer, s.intent_seq, s.done_seq from cursor c join cursor_seq s using (stream, group_name)
$$;

create or replace function cursors() returns table (o_group text, o_stream bigint, o_term int, o_intent_epoch int, o_intent_offset bigint,
    o_done_epoch int, o_done_offset bigint)
language sql stable security definer set search_path = lockstep, pg_temp as
$$ select group_name, stream, term, intent_epoch, intent_offset, done_epoch, done_offset from cursor where not by_seq
   order by group_name collate "C", stream $$;

-- Of each producer named the last run that ends below its seq. Costs what lies above the seqs.
create function marks_after_seqs(p_stream bigint, p_producers bigint[], p_seqs bigint[])
returns table (o_producer int, o_epoch int, o_first bigint)
language sql stable security definer set search_path = lockstep, pg_temp as $$
  select r.producer, r.epoch, r.first_seq
  from unnest(p_producers, p_seqs) u(producer, seq)
  cross join lateral (
    select x.producer, x.epoch, x.first_seq from run x
    where x.stream = p_stream and x.producer = u.producer and x.first_seq < u.seq and x.last_seq < u.seq
    order by x.epoch desc, x.first_seq desc limit 1) r
$$;

-- A renamed function keeps its grants: only what looks at the kind is for others.
revoke all on function open_gate_any(text, text[], bigint[], boolean),
  move_cursor_any(text, bigint, bigint, bigint, bigint, bigint, bigint), set_cursor_any(text, bigint, bigint, bigint)
  from lockstep_gate, lockstep_admin;
revoke all on all functions in schema lockstep from public;
grant execute on function open_gate(text, text[], bigint[], boolean),
  move_cursor(text, bigint, bigint, bigint, bigint, bigint, bigint), open_gate_seq(text, text, bigint, boolean),
  move_cursor_seq(text, bigint, bigint, bigint[], bigint[], bigint[]) to lockstep_gate;
grant execute on function set_cursor(text, bigint, bigint, bigint), set_cursor_seq(text, bigint, bigint, bigint) to lockstep_admin;
grant execute on function cursor_seqs(), marks_after_seqs(bigint, bigint[], bigint[]) to lockstep_reader;

insert into schema_version values (2);
reset role;
