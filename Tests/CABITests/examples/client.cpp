/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

// The same in C++: a connection, a pool, and a failure that is thrown.
//
//     c++ -std=c++17 client.cpp $(pkg-config --cflags --libs wsx) -o client
//     ./client ws://127.0.0.1:8080/ "hello"
#include "wsx.hpp"

#include <iostream>

int main(int count, char **arguments) {
    if (count < 3) return 64;
    try {
        wsx::Connection connection(arguments[1]);
        connection.send(arguments[2]);
        std::cout << connection.receive(5000).data << "\n";
        connection.close();

        wsx::Pool pool({arguments[1]});
        for (int round = 0; round < 3; round++) {
            wsx::Lease lease = pool.acquire(5000);
            lease.send(arguments[2]);
            std::cout << lease.receive(5000).data << "\n";
            lease.keep();
        }
        return 0;
    } catch (const wsx::Error &error) {
        std::cerr << wsx_status_name(error.details.status) << ": " << error.what() << "\n";
        return 1;
    }
}
