using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Explain.Walks;
using Ioasis.PageTables;
using Ioasis.Platform;
using Ioasis.Primitives;
using Shouldly;
using Xunit;

namespace Ioasis.Explain.Tests;

/// <summary>
/// Walks through snapshots of machines whose tables our drivers wrote: for every address they end where the model of the hardware ends, which shares no code with
/// them.
/// </summary>
public sealed class WalkTests : IDisposable
{
    private const int DumpedBytes = 1 << 20;
    private static readonly DeviceId s_device = DeviceId.FromPci(0, 2, 3, 1);
    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis-walk-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static TheoryData<string, string> Machines => new()
    {
        { "riscv", "Sv39" },
        { "riscv", "Sv48" },
        { "riscv", "Sv57" },
        { "vtd", "VtdStage2Level3" },
        { "vtd", "VtdStage2Level4" },
        { "vtd", "VtdStage2Level5" },
        { "vtd", "X64Level4" },
        { "vtd", "X64Level5" },
        { "vtd,legacy", "VtdStage2Level4" },
    };

    [Theory]
    [MemberData(nameof(Machines))]
    public void A_walk_ends_where_the_hardware_ends(string kind, string format)
    {
        using Machine machine = new(kind, format);
        (ulong Iova, ulong Length, ulong Physical, Access Access)[] maps =
        [
            (0x10000, 0x3000, 0x5000_1000, Access.ReadWrite), (0x20000, 0x10000, 0x5001_0000, Access.Read), (0x20_0000, 0x40_0000, 0x6000_0000, Access.ReadWrite),
            (0x4000_0000, 0x4000_0000, 0x8000_0000, Access.ReadWrite), (0x1f_ffff_f000, 0x1000, 0x7000_0000, Access.ReadWrite),
        ];
        foreach ((ulong iova, ulong length, ulong physical, Access access) in maps)
        {
            machine.Space.MapErrno(new(physical, length), new(iova), access).ShouldBe(Errno.Success);
        }

        using MemoryImage image = machine.Dump(_folder);
        MachineSnapshot snapshot = new(image, machine.Registers(_folder, asBlock: false));
        int translated = 0;
        foreach (ulong start in maps.Select(static m => m.Iova).Concat((ulong[])[0ul, 0x9000_0000, 0x30_0000_0000, 1ul << 38, 1ul << 47, 1ul << 56, ulong.MaxValue << 12]))
        {
            foreach (long offset in (long[])[-4096, -1, 0, 1, 0x1234, 0x2fff, 0x3000, 0x1f_fff8, 0x40_0000])
            {
                foreach (bool write in (bool[])[false, true])
                {
                    ulong address = start + (ulong)offset;
                    DmaRequest request = new(s_device, new(address), write ? DmaFlags.Write : DmaFlags.None);
                    machine.Platform.Iommu.Port.Translate(request, out DmaTranslation hardware);
                    WalkStory story = snapshot.Walk(new WalkRequest((uint)s_device.Value, null, address, write ? FaultAccess.Write : FaultAccess.Read));
                    string context = $"{story.Request}: {story.Conclusion}";
                    (story.End == WalkEnd.Translated).ShouldBe(hardware.Status == DmaStatus.Success, context);
                    if (hardware.Status == DmaStatus.Success)
                    {
                        story.Physical.ShouldBe(hardware.Address.Value, context);
                        story.Steps.ShouldAllBe(static step => !step.Fails);
                        translated++;
                    }
                    else
                    {
                        story.End.ShouldBe(WalkEnd.Faults, context);
                        story.Steps[^1].Fails.ShouldBeTrue(context);
                    }
                }
            }
        }

        translated.ShouldBeGreaterThan(30);
    }

    [Theory]
    [InlineData("riscv", "Sv39")]
    [InlineData("vtd", "VtdStage2Level4")]
    [InlineData("vtd,legacy", "VtdStage2Level4")]
    public void A_device_that_nobody_has_fails_in_the_first_tables(string kind, string format)
    {
        using Machine machine = new(kind, format);
        using MemoryImage image = machine.Dump(_folder);
        WalkStory story = new MachineSnapshot(image, machine.Registers(_folder, asBlock: true)).Walk(new WalkRequest(0x0719, null, 0x1000, FaultAccess.Read));
        story.End.ShouldBe(WalkEnd.Faults);
        story.Steps.Count.ShouldBeLessThanOrEqualTo(5);
        story.Steps[^1].Fields[0].Value.ShouldBe("0");
    }

    [Fact]
    public void What_the_snapshot_has_not_is_said_and_not_guessed_at()
    {
        string file = Path.Combine(_folder, "little.bin");
        File.WriteAllBytes(file, new byte[64]);
        using MemoryImage image = MemoryImage.Open([file + "@0x1000"]);
        var registers = RegisterSnapshot.Parse("ddtp = 0x20000002\ncapabilities 0x400210"u8, SnapshotKind.Intel);
        registers.Kind.ShouldBe(SnapshotKind.RiscV);
        WalkStory story = new MachineSnapshot(image, registers).Walk(new WalkRequest(1, null, 0x1000, FaultAccess.Write));
        story.End.ShouldBe(WalkEnd.Unknown);
        story.Conclusion.ShouldContain("which the snapshot of memory has not");
        story.Physical.ShouldBeNull();
    }

    [Theory]
    [InlineData("RTADDR\t\t0x20\t\t0x0000000101a2f000\nGSTS\t0x1c\t0x00000000c7000000\n")]
    [InlineData("DMAR_RTADDR_REG: 0x101a2f000")]
    [InlineData("{ \"rtaddr_reg\": \"0x101a2f000\", \"GSTS\": 3338665984, \"other\": true }")]
    public void Registers_are_read_as_kernels_and_people_write_them(string text)
    {
        var registers = RegisterSnapshot.Parse(Encoding.UTF8.GetBytes(text), SnapshotKind.RiscV);
        registers.Kind.ShouldBe(SnapshotKind.Intel);
        registers["RTADDR"].ShouldBe(0x101a2f000ul);
        registers["CAP"].ShouldBeNull();
    }

    [Theory]
    [InlineData("gsts = 1")]
    [InlineData("{ \"ddtp\": ")]
    [InlineData("\0\u0001")]
    public void Registers_that_are_none_are_refused(string text) =>
        Should.Throw<FormatException>(() => RegisterSnapshot.Parse(Encoding.UTF8.GetBytes(text), SnapshotKind.Intel));

    [Fact]
    public void A_base_that_is_no_address_is_refused() => Should.Throw<FormatException>(() => MemoryImage.Open(["memory.bin@here"]));

    [Fact]
    public void Damaged_tables_end_every_walk()
    {
        Random random = new(3);
        byte[] noise = new byte[1 << 16];
        string file = Path.Combine(_folder, "noise.bin");
        for (int round = 0; round < 60; round++)
        {
            random.NextBytes(noise);
            for (int i = 0; i < noise.Length; i += 8)
            {
                // Mostly valid, and mostly within the image.
                ulong word = BinaryPrimitives.ReadUInt64LittleEndian(noise.AsSpan(i)) & 0x3fff_0fff;
                BinaryPrimitives.WriteUInt64LittleEndian(noise.AsSpan(i), random.Next(4) == 0 ? word : (word & 0x3fff) | 1);
            }

            File.WriteAllBytes(file, noise);
            using MemoryImage image = MemoryImage.Open([file]);
            foreach (string registers in (string[])[$"ddtp={random.Next(16)}", $"rtaddr={random.Next(4) << 10}"])
            {
                MachineSnapshot snapshot = new(image, RegisterSnapshot.Parse(Encoding.UTF8.GetBytes(registers), SnapshotKind.RiscV));
                for (int i = 0; i < 20; i++)
                {
                    uint? pasid = random.Next(2) == 0 ? null : (uint)random.Next(1 << 20);
                    WalkStory story = snapshot.Walk(new WalkRequest((uint)random.Next(1 << 24), pasid, (ulong)random.NextInt64(), (FaultAccess)random.Next(4)));
                    story.Conclusion.ShouldNotBeEmpty();
                    (story.End == WalkEnd.Faults).ShouldBe(story.Steps.Any(static step => step.Fails));
                }
            }
        }
    }

    /// <summary>A machine with one device and an address space.</summary>
    private sealed class Machine : IDisposable
    {
        private readonly IommuFd _iommu;
        private readonly VfioDevice _vfio;

        public Machine(string kind, string format)
        {
            IommuSlot.TryParse(kind, out IommuSlot? slot, out string? problem).ShouldBeTrue(problem);
            PageTableFormat.TryFind(format, out PageTableFormat? tables).ShouldBeTrue(format);
            ulong limit = 1ul << (slot!.PhysicalBits - 2);
            Platform = new(new()
            {
                Iommus = [slot with { Format = tables }],
                UserMemory = new IdentityUserMemory(limit),
                PagedMemoryLimit = limit,
                TableMemory = new(limit, (limit * 2) - 1),
            });
            EmbeddedEndpoint endpoint = Platform.AddEndpoint(s_device);
            _iommu = IommuFd.Open(Platform.Kernel);
            _vfio = VfioDevice.Open(Platform.Kernel, endpoint.DevicePath);
            _vfio.Bind(_iommu);
            Space = _iommu.AllocateAddressSpace();
            _vfio.Attach(Space);
        }

        public EmbeddedPlatform Platform { get; }

        public IoAddressSpace Space { get; }

        public MemoryImage Dump(string folder)
        {
            string file = Path.Combine(folder, "memory.bin");
            ulong start = Platform.Options.TableMemory.Start;
            byte[] bytes = new byte[DumpedBytes];
            for (int offset = 0; offset < bytes.Length; offset += 8)
            {
                Platform.PhysicalMemory.Read64(new(start + (ulong)offset), out ulong value).ShouldBe(MemoryStatus.Success);
                BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(offset), value);
            }

            File.WriteAllBytes(file, bytes);
            return MemoryImage.Open([string.Create(CultureInfo.InvariantCulture, $"{file}@0x{start:x}")]);
        }

        public RegisterSnapshot Registers(string folder, bool asBlock)
        {
            bool isRiscV = Platform.Iommu.Kind is "riscv";
            byte[] block = new byte[4096];
            for (uint offset = 0; offset < 64; offset += 4)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(block.AsSpan((int)offset), Platform.Iommu.Registers.Read32(offset));
            }

            if (asBlock)
            {
                return RegisterSnapshot.Parse(block, isRiscV ? SnapshotKind.RiscV : SnapshotKind.Intel);
            }

            (string, int)[] names = isRiscV ? [("capabilities", 0), ("ddtp", 16)] : [("CAP_REG", 8), ("RTADDR_REG", 32)];
            string text = string.Join('\n', names.Select(name => string.Create(
                CultureInfo.InvariantCulture, $"{name.Item1} = 0x{BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(name.Item2)):x}")));
            File.WriteAllText(Path.Combine(folder, "registers.txt"), text);
            return RegisterSnapshot.Parse(Encoding.UTF8.GetBytes(text), SnapshotKind.Intel);
        }

        public void Dispose()
        {
            Space.Dispose();
            _vfio.Dispose();
            _iommu.Dispose();
            Platform.Dispose();
        }
    }
}
