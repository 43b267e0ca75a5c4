-- The ledger's roles. Run at every init; changes nothing that is there.
--
--   lockstep_owner   owns the schema and everything in it; nobody logs in as it. It may read what a
--                    wal receiver says (an ordinary role sees NULLs).
--   lockstep_writer  producers     lockstep_gate  gates     lockstep_reader  readers, witnesses
--   lockstep_admin   people and failover
--
-- None of the four may touch a table; each may call the functions granted to it. Database users get
-- them by GRANT lockstep_writer TO …; docs/operations/ledger.md shows it.
do $$
declare
  name text;
begin
  foreach name in array array['lockstep_owner', 'lockstep_writer', 'lockstep_gate', 'lockstep_reader', 'lockstep_admin'] loop
    if not exists (select from pg_roles where rolname = name) then
      execute format('create role %I nologin', name);
    end if;
  end loop;
  if not pg_has_role('lockstep_owner', 'pg_read_all_stats', 'member') then
    grant pg_read_all_stats to lockstep_owner;
  end if;
  if not pg_has_role(current_user, 'lockstep_owner', 'member') then
    execute format('grant lockstep_owner to %I', current_user);
  end if;
  foreach name in array array['lockstep_writer', 'lockstep_gate', 'lockstep_admin'] loop
    if not pg_has_role(name, 'lockstep_reader', 'member') then
      execute format('grant lockstep_reader to %I', name);
    end if;
  end loop;
end $$;
