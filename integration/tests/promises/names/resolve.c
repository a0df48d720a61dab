/* Says what a name is, as the C library that it is linked with finds it: one address a line, or why there is none. */

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found;
    char text[INET6_ADDRSTRLEN];
    int problem = getaddrinfo(count > 1 ? words[1] : "", NULL, &wanted, &found);
    if (problem) {
        printf("%s\n", gai_strerror(problem));
        return 0;
    }
    for (; found; found = found->ai_next) {
        void *address = found->ai_family == AF_INET
                            ? (void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr
                            : (void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr;
        printf("%s\n", inet_ntop(found->ai_family, address, text, sizeof text));
    }
    return 0;
}
