// A stand-in for <format>, which g++ 12 does not have: only what mlx-c asks of
// std::format, "{}" and nothing else. Compiled into mlx-c by deps_mlx.sh.
#pragma once
#if __has_include_next(<format>)
#include_next <format>
#else
#include <sstream>
#include <string>
#include <string_view>

namespace std {

inline void mlxc_format(ostringstream &out, string_view text) { out << text; }

template <class First, class... Rest>
void mlxc_format(ostringstream &out, string_view text, const First &first,
                 const Rest &...rest) {
    size_t at = text.find("{}");
    if (at == string_view::npos) {
        out << text;
        return;
    }
    out << text.substr(0, at) << first;
    mlxc_format(out, text.substr(at + 2), rest...);
}

template <class... Parts>
string format(string_view text, const Parts &...parts) {
    ostringstream out;
    mlxc_format(out, text, parts...);
    return out.str();
}

} // namespace std
#endif
