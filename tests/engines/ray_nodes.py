"""Two Ray nodes on this machine, for a test: prints their address; "kill" on the input kills one, its end both.

    python ray_nodes.py GPUS

The first node has as many of the machine's GPUs.
"""

import os
import sys

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's word for staying on 127.0.0.1

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 100 << 20, "node_ip_address": "127.0.0.1"}

if __name__ == "__main__":
    system = {"health_check_period_ms": 500, "health_check_failure_threshold": 4, "health_check_initial_delay_ms": 0}
    head = {**NODE, "num_gpus": int(sys.argv[1]), "include_dashboard": False, "_system_config": system}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second = cluster.add_node(**NODE)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            for raylet in second.all_processes["raylet"]:
                raylet.process.kill()  # as if switched off: Ray's own way of removing a node says goodbye first
    cluster.shutdown()
