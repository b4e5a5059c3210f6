/* Maps Windows libraries without their imports and follows each wrapper's pointer, as the loader relocated it:
   prints LIBRARY WRAPPERS RIGHT. Built by x86_64-w64-mingw32-gcc, run under Windows or Wine. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

int main(int count, char **names) {
    for (int i = 1; i < count; i++) {
        HMODULE module = LoadLibraryExA(names[i], 0, DONT_RESOLVE_DLL_REFERENCES);
        if (!module) return 1;
        unsigned char *base = (unsigned char *)((size_t)module & ~(size_t)3);
        IMAGE_NT_HEADERS64 *header = (void *)(base + ((IMAGE_DOS_HEADER *)base)->e_lfanew);
        IMAGE_SECTION_HEADER *section = IMAGE_FIRST_SECTION(header);
        int wrappers = 0, right = 0;
        for (int n = 0; n < header->FileHeader.NumberOfSections; n++, section++) {
            if (memcmp(section->Name, ".nvFatBi", 8)) continue;
            unsigned char *at = base + section->VirtualAddress, *end = at + section->Misc.VirtualSize;
            while (at + 24 <= end) {
                if (*(unsigned *)at != 0x466243b1) { at += 8; continue; }
                wrappers++;
                right += **(unsigned **)(at + 8) == 0xBA55ED50;
                at += 24;
            }
        }
        printf("%s %d %d\n", names[i], wrappers, right);
    }
    return 0;
}
