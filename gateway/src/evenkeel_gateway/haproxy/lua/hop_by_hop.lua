-- Copyright: Contributors to evenkeel.fleet
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Removes the headers that Connection names, as HAProxy can't delete a header by a name from another header. Only runs
-- if Connection names unusual headers.

-- HAProxy handles these, or they are never hop-by-hop.
local kept = {
	["connection"] = true, ["close"] = true, ["keep-alive"] = true, ["upgrade"] = true, ["te"] = true,
	["host"] = true, ["content-length"] = true, ["transfer-encoding"] = true,
}

local function end_hop(headers, delete)
	for _, value in pairs(headers["connection"] or {}) do
		for name in value:gmatch("[^%s,]+") do
			name = name:lower()
			if not kept[name] then
				delete(name)
			end
		end
	end
end

core.register_action("end_request_hop", { "http-req" }, function(txn)
	end_hop(txn.http:req_get_headers(), function(name) txn.http:req_del_header(name) end)
end)

core.register_action("end_response_hop", { "http-res" }, function(txn)
	end_hop(txn.http:res_get_headers(), function(name) txn.http:res_del_header(name) end)
end)
