-- sysbench: one event is a new connection, one select, and a quit.
function thread_init()
  driver = sysbench.sql.driver()
end

function event()
  local connection = driver:connect()
  connection:query("SELECT 1")
  connection:disconnect()
end
