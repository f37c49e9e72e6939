/* The library from C++11: a class of thirty lines gives it a destructor,
 * exceptions and std::string.
 *
 *     c++ rank.cpp $(pkg-config --cflags --libs crossrank) -o rank
 *     ./rank MODEL QUERY PASSAGE...
 */
#include <crossrank.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

class Ranker {
  public:
    explicit Ranker(const std::string &model) {
        cr_options options;
        cr_options_init(&options);
        options.model = model.c_str();
        cr_ranker *opened;
        cr_error error;
        check(cr_ranker_open(&options, &opened, &error), error);
        ranker_.reset(opened);
    }

    // Best first. May be called from many threads at once.
    std::vector<cr_ranked> rank(const std::string &query,
                                const std::vector<std::string> &passages) {
        std::vector<cr_text> texts;
        for (const std::string &passage : passages)
            texts.push_back(cr_text{passage.data(), passage.size()});
        std::vector<cr_ranked> ranked(passages.size());
        std::size_t n;
        cr_error error;
        check(cr_rank(ranker_.get(), cr_text{query.data(), query.size()},
                      texts.data(), texts.size(), 0, ranked.data(), &n, &error),
              error);
        return ranked;
    }

  private:
    static void check(cr_status status, const cr_error &error) {
        if (status != CR_OK)
            throw std::runtime_error(error.message);
    }

    struct Close {
        void operator()(cr_ranker *ranker) const { cr_ranker_close(ranker); }
    };
    std::unique_ptr<cr_ranker, Close> ranker_;
};

int main(int argc, char **argv) try {
    if (argc < 4) {
        std::fprintf(stderr, "usage: rank MODEL QUERY PASSAGE...\n");
        return 2;
    }
    const std::vector<std::string> passages(argv + 3, argv + argc);
    Ranker ranker(argv[1]);
    for (const cr_ranked &r : ranker.rank(argv[2], passages))
        std::printf("%8.4f  %s\n", static_cast<double>(r.score),
                    passages[r.index].c_str());
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "rank: %s\n", error.what());
    return 1;
}
