"""An S3 server: OpenStack Swift with its S3 API, all of it in one process, below a directory that can be empty or of an
earlier server. It prints the port that it listens on."""
import os
import sys

import eventlet
from eventlet import wsgi

eventlet.monkey_patch()

from swift.common import utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.wsgi import SwiftHttpProtocol, loadapp  # noqa: E402

ADDRESS = '127.0.0.1'
DEVICE = 'device'

# The key and the secret of the one user are test:tester and testing.
PROXY = '''
[DEFAULT]
swift_dir = {directory}
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats s3api tempauth bulk slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
max_upload_part_num = 10000
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
''' + ''.join(f'[filter:{name}]\nuse = egg:swift#{name}\n'
              for name in ('catch_errors', 'gatekeeper', 'listing_formats', 'bulk', 'slo', 'dlo'))

STORAGE = '''
[DEFAULT]
swift_dir = {directory}
devices = {directory}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
'''


class Cache:
    """What Swift asks of memcached."""
    def __init__(self):
        self.values = {}

    def get(self, key, **_):
        return self.values.get(key)

    def set(self, key, value, **_):
        self.values[key] = value

    def delete(self, key, **_):
        self.values.pop(key, None)


def load(directory, name, template):
    file = os.path.join(directory, name + '.conf')
    with open(file, 'w') as out:
        out.write(template.format(directory=directory, name=name))
    return loadapp(file, global_conf={'log_name': name})


def serve(socket, app):
    eventlet.spawn(wsgi.server, socket, app, utils.NullLogger(), protocol=SwiftHttpProtocol,
                   capitalize_response_headers=False)


def write_ring(directory, name, port):
    """One copy of everything, on one device."""
    builder = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    builder.add_dev({'id': 0, 'region': 1, 'zone': 1, 'weight': 1, 'device': DEVICE,
                     'ip': ADDRESS, 'port': port, 'replication_ip': ADDRESS, 'replication_port': port})
    builder.rebalance()
    builder.get_ring().save(os.path.join(directory, name + '.ring.gz'))


def main(directory):
    utils.HASH_PATH_SUFFIX = b'test'
    os.makedirs(os.path.join(directory, DEVICE), exist_ok=True)
    for name in ('account', 'container', 'object'):
        socket = eventlet.listen((ADDRESS, 0))
        write_ring(directory, name, socket.getsockname()[1])
        serve(socket, load(directory, name, STORAGE))
    proxy = load(directory, 'proxy', PROXY)
    cache = Cache()

    def cached(environment, start_response):
        environment['swift.cache'] = cache
        return proxy(environment, start_response)

    socket = eventlet.listen((ADDRESS, 0))
    serve(socket, cached)
    print(socket.getsockname()[1], flush=True)
    eventlet.Event().wait()


main(sys.argv[1])
