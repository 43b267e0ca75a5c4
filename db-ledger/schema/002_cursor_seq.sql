-- The ledger, version 2: gates that keep a seq per producer (--mode per-producer).
--
-- A cursor is of one kind from its creation on: positions in its own row, or seqs in cursor_seq. Its
-- term stands in its row in either case, so begin_epoch and solo_off need not know. A cursor of seqs
-- has no position: prune takes that for "nothing sent" and keeps everything.

set local role lockstep_owner;
set local search_path = lockstep, pg_temp;

alter table cursor add column by_seq boolean not null default false;

-- ---------------------------------------------------------------- taking a term

create function check_group(p_group text) returns void
language plpgsql set search_path = lockstep, pg_temp as $$
declare
  group_owner text;
begin
  insert into gate_group values (p_group, session_user)
    on conflict (name) do update set owner = coalesce(gate_group.owner, session_user)
    returning owner into group_owner;
  if group_owner <> session_user then
    perform refuse('wrong-owner', format('group %s belongs to role %s, not to %s', p_group, group_owner, session_user));
  end if;
end $$;

create function check_kind(p_group text, p_name text, p_by_seq boolean, p_wanted boolean) returns void
language plpgsql set search_path = lockstep, pg_temp as $$
begin
  if p_by_seq <> p_wanted then
    perform refuse('invalid', format('group %s keeps %s on %s; take another group', p_group,
      case when p_by_seq then 'a seq per producer (--mode per-producer)' else 'a position (--mode gate, recover or replay)' end, p_name));
  end if;
end $$;

create or replace function open_gate(p_group text, p_topics text[], p_partitions bigint[], p_create boolean)
returns table (o_epoch int, o_solo boolean, o_stream bigint, o_term int, o_intent_epoch int, o_intent_offset bigint,
    o_done_epoch int, o_done_offset bigint)
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  e int;
  x record;
  v_by_seq boolean;
begin
  select epoch into strict e from now for share;
  perform check_group(p_group);
  for x in select u.topic, u.partition::int as partition
           from unnest(p_topics, p_partitions) with ordinality u(topic, partition, n) order by n loop
    select c.by_seq into v_by_seq from cursor c join stream s using (stream)
      where s.topic = x.topic and s.partition = x.partition and c.group_name = p_group;
    if found then
      perform check_kind(p_group, x.topic || '/' || x.partition, v_by_seq, false);
    elsif not p_create then
      perform refuse('not-found', format('group %s has no cursor on %s/%s', p_group, x.topic, x.partition));
    end if;
    perform register_stream(x.topic, x.partition, 0);
  end loop;
  for x in select s.stream, s.topic, s.partition from unnest(p_topics, p_partitions) u(topic, partition)
           join stream s on s.topic = u.topic and s.partition = u.partition order by s.stream loop
    insert into cursor (stream, group_name, term) values (x.stream, p_group, 1)
      on conflict (stream, group_name) do update set term = cursor.term + 1
      returning by_seq into v_by_seq;
    perform check_kind(p_group, x.topic || '/' || x.partition, v_by_seq, false);
  end loop;
  return query
    select e, is_solo(e), c.stream, c.term, c.intent_epoch, c.intent_offset, c.done_epoch, c.done_offset
    from unnest(p_topics, p_partitions) with ordinality u(topic, partition, n)
    join stream s on s.topic = u.topic and s.partition = u.partition
    join cursor c on c.stream = s.stream and c.group_name = p_group
    order by n;
end $$;

-- One row for the cursor, then one a producer that it knows.
create function open_gate_seq(p_group text, p_topic text, p_partition bigint, p_create boolean)
returns table (o_epoch int, o_solo boolean, o_stream bigint, o_term int, o_producer int, o_intent bigint, o_done bigint)
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  e int;
  v_stream bigint;
  v_term int;
  v_by_seq boolean;
begin
  select epoch into strict e from now for share;
  perform check_group(p_group);
  select c.by_seq into v_by_seq from cursor c join stream s using (stream)
    where s.topic = p_topic and s.partition = p_partition and c.group_name = p_group;
  if found then
    perform check_kind(p_group, p_topic || '/' || p_partition, v_by_seq, true);
  elsif not p_create then
    perform refuse('not-found', format('group %s has no cursor on %s/%s', p_group, p_topic, p_partition));
  end if;
  perform register_stream(p_topic, p_partition::int, 0);
  select stream into strict v_stream from stream where topic = p_topic and partition = p_partition;
  insert into cursor (stream, group_name, term, by_seq) values (v_stream, p_group, 1, true)
    on conflict (stream, group_name) do update set term = cursor.term + 1
    returning by_seq, term into v_by_seq, v_term;
  perform check_kind(p_group, p_topic || '/' || p_partition, v_by_seq, true);
  return query select e, is_solo(e), v_stream, v_term, 0, 0::bigint, 0::bigint;
  return query select e, is_solo(e), v_stream, v_term, c.producer, c.intent_seq, c.done_seq
    from cursor_seq c where c.stream = v_stream and c.group_name = p_group order by c.producer;
end $$;

-- ---------------------------------------------------------------- moving

create function move_cursor_seq(p_group text, p_stream bigint, p_term bigint, p_producers bigint[], p_intents bigint[], p_dones bigint[])
returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  c record;
  group_owner text;
  e int;
  v_missing bigint;
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
  perform check_kind(p_group, 'stream ' || p_stream, c.by_seq, true);
  select u.producer into v_missing from unnest(p_producers) u(producer)
    where not exists (select from head h where h.stream = p_stream and h.producer = u.producer) order by 1 limit 1;
  if found then
    perform refuse('not-found', format('stream %s has no producer %s', p_stream, v_missing));
  end if;
  if exists (select from unnest(p_producers, p_intents, p_dones) u(producer, intent, done)
             left join cursor_seq s on s.stream = p_stream and s.group_name = p_group and s.producer = u.producer
             where u.intent < coalesce(s.intent_seq, 0) or u.done < coalesce(s.done_seq, 0) or u.done > u.intent) then
    perform refuse('invalid', 'a cursor never goes back, and done ≤ intent');
  end if;
  insert into cursor_seq
    select p_stream, p_group, u.producer, u.intent, u.done from unnest(p_producers, p_intents, p_dones) u(producer, intent, done)
    on conflict (stream, group_name, producer) do update set intent_seq = excluded.intent_seq, done_seq = excluded.done_seq;
  select epoch into strict e from now;
  return is_solo(e);
end $$;

create or replace function move_cursor(p_group text, p_stream bigint, p_term bigint, p_intent_epoch bigint, p_intent_offset bigint,
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
  perform check_kind(p_group, 'stream ' || p_stream, c.by_seq, false);
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

create or replace function set_cursor(p_group text, p_stream bigint, p_epoch bigint, p_offset bigint) returns boolean
language plpgsql security definer set search_path = lockstep, pg_temp as $$
declare
  e int;
  v_by_seq boolean;
begin
  select epoch into strict e from now for share;
  if not exists (select from stream where stream = p_stream) then
    perform refuse('not-found', format('no stream %s', p_stream));
  end if;
  insert into gate_group values (p_group, null) on conflict do nothing;
  insert into cursor values (p_stream, p_group, 1, p_epoch, p_offset, p_epoch, p_offset)
    on conflict (stream, group_name) do update
      set term = cursor.term + 1, intent_epoch = p_epoch, intent_offset = p_offset, done_epoch = p_epoch, done_offset = p_offset
      returning by_seq into v_by_seq;
  perform check_kind(p_group, 'stream ' || p_stream, v_by_seq, false);
  return is_solo(e);
end $$;

-- ---------------------------------------------------------------- reading

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

revoke all on all functions in schema lockstep from public;
grant execute on function open_gate_seq(text, text, bigint, boolean),
  move_cursor_seq(text, bigint, bigint, bigint[], bigint[], bigint[]) to lockstep_gate;
grant execute on function cursor_seqs() to lockstep_reader;

insert into schema_version values (2);
reset role;
