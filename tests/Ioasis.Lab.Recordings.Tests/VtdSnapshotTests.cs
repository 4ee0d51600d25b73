using System.Globalization;
using System.Text.RegularExpressions;

namespace Ioasis.Lab.Recordings.Tests;

/// <summary>Our walker on the tables that Linux made, against what QEMU made of them while Linux ran.</summary>
public sealed partial class VtdSnapshotTests
{
    [Theory]
    [InlineData("--strict --disk nvme,ahci,virtio-scsi --workload light --seed 31")]
    public void Our_walker_gives_what_QEMU_logged_for_every_access_that_no_invalidation_has_overtaken(string machine)
    {
        using VtdSnapshot snapshot = VtdSnapshot.Take(machine);
        snapshot.IsTranslating.ShouldBeTrue();
        AccessLog log = new();
        foreach (string line in snapshot.Before)
        {
            log.Add(line);
        }

        // The guest invalidates with each unmap: a page may be gone from the table whose invalidation was still to come, however long the
        // processor that unmapped it was kept waiting.
        List<Invalidation> later = [.. snapshot.After.Select(Invalidation.In).OfType<Invalidation>()];
        int pages = 0;
        int accesses = 0;
        foreach (((ushort source, ulong iova), (ulong address, int count)) in log.Pages)
        {
            ulong? ours = snapshot.Translate(source, iova);
            bool isGone = ours is null && later.Exists(invalidation => invalidation.Covers(iova, log.DomainOf(source)));
            (ours == address || isGone).ShouldBeTrue($"device {source:x4}, IOVA {iova:x}: ours {ours:x}, QEMU {address:x}");
            pages += isGone ? 0 : 1;
            accesses += isGone ? 0 : count;
        }

        // Rings stay mapped for as long as their drivers are loaded.
        pages.ShouldBeGreaterThan(8, $"{accesses} accesses of {log.Accesses} that were logged");
        accesses.ShouldBeGreaterThan(50);
        log.Pages.Keys.Select(static key => key.Source).Distinct().Count().ShouldBeGreaterThan(1);
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{accesses} of {log.Accesses} accesses until the snapshot, to {pages} pages, are as QEMU logged them; the others were invalidated since");
    }

    private static ulong Hex(Group group) => ulong.Parse(group.ValueSpan, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    /// <summary>Where devices' pages were by QEMU's log, until an invalidation took them out.</summary>
    private sealed partial class AccessLog
    {
        private readonly Dictionary<ushort, ulong> _domains = [];

        public Dictionary<(ushort Source, ulong Iova), (ulong Address, int Count)> Pages { get; } = [];

        public int Accesses { get; private set; }

        public ulong? DomainOf(ushort source) => _domains.TryGetValue(source, out ulong domain) ? domain : null;

        public void Add(string line)
        {
            if (Invalidation.In(line) is { } invalidation)
            {
                foreach ((ushort Source, ulong Iova) key in Pages.Keys.Where(key => invalidation.Covers(key.Iova, DomainOf(key.Source))).ToArray())
                {
                    _ = Pages.Remove(key);
                }
            }
            else if (Update().Match(line) is { Success: true } update)
            {
                _domains[(ushort)Hex(update.Groups[1])] = Hex(update.Groups[2]);
            }
            else if (Access().Match(line) is { Success: true } access)
            {
                ushort source = (ushort)((Hex(access.Groups[1]) << 8) | (Hex(access.Groups[2]) << 3) | Hex(access.Groups[3]));
                (ulong iova, ulong address) = (Hex(access.Groups[4]), Hex(access.Groups[5]));
                int before = Pages.TryGetValue((source, iova), out (ulong Address, int Count) known) && known.Address == address ? known.Count : 0;
                Pages[(source, iova)] = (address, before + 1);
                Accesses++;
            }
        }

        [GeneratedRegex("vtd_dmar_translate dev ([0-9a-f]+):([0-9a-f]+)\\.([0-9a-f]+) iova 0x([0-9a-f]+) -> gpa 0x([0-9a-f]+) ")]
        private static partial Regex Access();

        [GeneratedRegex("vtd_iotlb_page_update .* sid 0x([0-9a-f]+) .* domain 0x([0-9a-f]+)")]
        private static partial Regex Update();
    }

    /// <summary>An invalidation of translations: of everything, of a domain, or of 2^mask pages of one.</summary>
    private sealed partial record Invalidation(ulong? Domain, ulong? Address, int Mask)
    {
        public static Invalidation? In(string line) =>
            !line.Contains("vtd_inv_desc_", StringComparison.Ordinal) ? null
            : OfPages().Match(line) is { Success: true } pages ? new(Hex(pages.Groups[1]), Hex(pages.Groups[2]), (int)Hex(pages.Groups[3]))
            : OfDomain().Match(line) is { Success: true } domain ? new(Hex(domain.Groups[1]), null, 0)
            : line.Contains("iotlb_global", StringComparison.Ordinal) || line.Contains("vtd_inv_desc_cc_", StringComparison.Ordinal) ? new(null, null, 0)
            : null;

        // A device whose domain is not known is taken to be meant.
        public bool Covers(ulong iova, ulong? domain) =>
            (Domain is null || domain is null || Domain == domain)
            && (Address is not { } address || (iova >> 12 >> Mask) == (address >> 12 >> Mask));

        [GeneratedRegex("vtd_inv_desc_iotlb_pages .*domain 0x([0-9a-f]+) addr 0x([0-9a-f]+) mask 0x([0-9a-f]+)")]
        private static partial Regex OfPages();

        [GeneratedRegex("vtd_inv_desc_iotlb_domain .* 0x([0-9a-f]+)")]
        private static partial Regex OfDomain();
    }
}
