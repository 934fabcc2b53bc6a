-- wrk: post a chunk of 100 ids, again and again.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local ids = {}
for id = 1000000, 1000099 do ids[#ids + 1] = id end
wrk.body = '{"result_ids":[' .. table.concat(ids, ",") .. '],"metric_ids":[11]}'
