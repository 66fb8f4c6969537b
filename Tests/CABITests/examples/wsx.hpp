/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

// C++17 over wsx.h: handles that free themselves, failures that are thrown. To be copied and changed.
#ifndef WSX_HPP
#define WSX_HPP

#include <wsx.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace wsx {

class Error : public std::runtime_error {
public:
    explicit Error(const wsx_error &error) : std::runtime_error(error.message), details(error) {}
    wsx_error details;
};

// Calls a function of wsx.h whose last parameter is the error.
template <typename Function, typename... Arguments>
void call(Function function, Arguments... arguments) {
    wsx_error error = wsx_error_init();
    if (function(arguments..., &error) != WSX_OK) throw Error(error);
}

// The owner of a handle.
template <typename Handle, wsx_status (*Free)(Handle)>
class Owner {
public:
    Owner() = default;
    explicit Owner(Handle handle) : handle_(handle) {}
    Owner(Owner &&other) noexcept : handle_(other.release()) {}
    Owner &operator=(Owner &&other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    ~Owner() { reset(); }
    Handle get() const { return handle_; }
    Handle release() { return std::exchange(handle_, Handle{0}); }
    void reset(Handle handle = Handle{0}) {
        if (handle_.id != 0) Free(handle_);
        handle_ = handle;
    }

private:
    Handle handle_{0};
};

struct Message {
    bool is_text;
    std::string data;
};

class Connection {
public:
    explicit Connection(const std::string &url, const wsx_client_config *config = nullptr) {
        wsx_connection handle{0};
        call(wsx_connect, url.c_str(), config, &handle);
        owner_ = Owner<wsx_connection, wsx_connection_free>(handle);
    }
    void send(std::string_view data, bool is_text = true, int64_t timeout_ms = WSX_NEVER) {
        call(wsx_send, get(), wsx_kind(is_text ? WSX_TEXT : WSX_BINARY), static_cast<const void *>(data.data()),
             data.size(), timeout_ms);
    }
    Message receive(int64_t timeout_ms = WSX_NEVER) {
        wsx_message message{};
        call(wsx_receive, get(), timeout_ms, &message);
        Message result{message.kind == WSX_TEXT, std::string(message.data, message.length)};
        wsx_message_free(&message);
        return result;
    }
    wsx_close_info close(uint16_t code = 1000, const std::string &reason = "") {
        wsx_close_info info{};
        call(wsx_close, get(), code, reason.c_str(), &info);
        return info;
    }
    wsx_connection get() const { return owner_.get(); }

protected:
    explicit Connection(wsx_connection handle) : owner_(handle) {}

private:
    Owner<wsx_connection, wsx_connection_free> owner_;
};

// A borrowed connection. It goes back to be used again only after keep(): an exception leaves it half used.
class Lease : public Connection {
public:
    explicit Lease(wsx_connection handle) : Connection(handle) {}
    Lease(Lease &&) = default;
    ~Lease() { wsx_pool_release(get(), !keeps_, nullptr); }
    void keep() { keeps_ = true; }

private:
    bool keeps_ = false;
};

class Pool {
public:
    explicit Pool(const std::vector<std::string> &urls, const wsx_pool_config *config = nullptr) {
        std::vector<const char *> list;
        for (const auto &url : urls) list.push_back(url.c_str());
        list.push_back(nullptr);
        wsx_pool handle{0};
        call(wsx_pool_create, list.data(), config, &handle);
        owner_ = Owner<wsx_pool, wsx_pool_free>(handle);
    }
    Lease acquire(int64_t timeout_ms = WSX_NEVER) {
        wsx_connection handle{0};
        call(wsx_pool_acquire, owner_.get(), timeout_ms, &handle);
        return Lease(handle);
    }

private:
    Owner<wsx_pool, wsx_pool_free> owner_;
};

}  // namespace wsx
#endif
