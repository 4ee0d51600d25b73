using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Uapi;

namespace Ioasis.Kernel.Tests;

/// <summary>
/// Sizes, offsets and request numbers of the ABI: against the numbers of Linux 7.2's headers that stand here, and against
/// the C compiler's answer where it and headers that know the structure are installed.
/// </summary>
public sealed partial class LayoutTests
{
    private sealed record Layout(Type Type, string Header, string Struct, int Size, (string Field, string Name, int Offset)[] Fields);

    private static readonly Layout[] s_layouts =
    [
        new(typeof(IommuDestroy), "iommufd", "iommu_destroy", 8, [("Size", "size", 0), ("Id", "id", 4)]),
        new(typeof(IommuIoasAlloc), "iommufd", "iommu_ioas_alloc", 12,
            [("Size", "size", 0), ("Flags", "flags", 4), ("OutIoasId", "out_ioas_id", 8)]),
        new(typeof(IommuIovaRange), "iommufd", "iommu_iova_range", 16, [("Start", "start", 0), ("Last", "last", 8)]),
        new(typeof(IommuIoasIovaRanges), "iommufd", "iommu_ioas_iova_ranges", 32,
            [("Size", "size", 0), ("IoasId", "ioas_id", 4), ("NumIovas", "num_iovas", 8), ("Reserved", "__reserved", 12),
             ("AllowedIovas", "allowed_iovas", 16), ("OutIovaAlignment", "out_iova_alignment", 24)]),
        new(typeof(IommuIoasAllowIovas), "iommufd", "iommu_ioas_allow_iovas", 24,
            [("Size", "size", 0), ("IoasId", "ioas_id", 4), ("NumIovas", "num_iovas", 8), ("Reserved", "__reserved", 12),
             ("AllowedIovas", "allowed_iovas", 16)]),
        new(typeof(IommuIoasMap), "iommufd", "iommu_ioas_map", 40,
            [("Size", "size", 0), ("Flags", "flags", 4), ("IoasId", "ioas_id", 8), ("Reserved", "__reserved", 12),
             ("UserVa", "user_va", 16), ("Length", "length", 24), ("Iova", "iova", 32)]),
        new(typeof(IommuIoasCopy), "iommufd", "iommu_ioas_copy", 40,
            [("Size", "size", 0), ("Flags", "flags", 4), ("DestinationIoasId", "dst_ioas_id", 8),
             ("SourceIoasId", "src_ioas_id", 12), ("Length", "length", 16), ("DestinationIova", "dst_iova", 24),
             ("SourceIova", "src_iova", 32)]),
        new(typeof(IommuIoasUnmap), "iommufd", "iommu_ioas_unmap", 24,
            [("Size", "size", 0), ("IoasId", "ioas_id", 4), ("Iova", "iova", 8), ("Length", "length", 16)]),
        new(typeof(IommuOption), "iommufd", "iommu_option", 24,
            [("Size", "size", 0), ("OptionId", "option_id", 4), ("Operation", "op", 8), ("Reserved", "__reserved", 10),
             ("ObjectId", "object_id", 12), ("Value", "val64", 16)]),
        new(typeof(IommuVfioIoas), "iommufd", "iommu_vfio_ioas", 12,
            [("Size", "size", 0), ("IoasId", "ioas_id", 4), ("Operation", "op", 8), ("Reserved", "__reserved", 10)]),
        new(typeof(IommuHwptAlloc), "iommufd", "iommu_hwpt_alloc", 48,
            [("Size", "size", 0), ("Flags", "flags", 4), ("DeviceId", "dev_id", 8), ("PageTableId", "pt_id", 12),
             ("OutHwptId", "out_hwpt_id", 16), ("Reserved", "__reserved", 20), ("DataType", "data_type", 24),
             ("DataLength", "data_len", 28), ("DataAddress", "data_uptr", 32), ("FaultId", "fault_id", 40),
             ("Reserved2", "__reserved2", 44)]),
        new(typeof(IommuHwInfo), "iommufd", "iommu_hw_info", 40,
            [("Size", "size", 0), ("Flags", "flags", 4), ("DeviceId", "dev_id", 8), ("DataLength", "data_len", 12),
             ("DataAddress", "data_uptr", 16), ("DataType", "out_data_type", 24), ("OutMaxPasidLog2", "out_max_pasid_log2", 28),
             ("Reserved", "__reserved", 29), ("OutCapabilities", "out_capabilities", 32)]),
        new(typeof(VfioDeviceInfo), "vfio", "vfio_device_info", 24,
            [("Argsz", "argsz", 0), ("Flags", "flags", 4), ("NumRegions", "num_regions", 8), ("NumIrqs", "num_irqs", 12),
             ("CapOffset", "cap_offset", 16), ("Pad", "pad", 20)]),
        new(typeof(VfioDeviceBindIommufd), "vfio", "vfio_device_bind_iommufd", 24,
            [("Argsz", "argsz", 0), ("Flags", "flags", 4), ("Iommufd", "iommufd", 8), ("OutDeviceId", "out_devid", 12),
             ("TokenAddress", "token_uuid_ptr", 16)]),
        new(typeof(VfioDeviceAttachIommufdPt), "vfio", "vfio_device_attach_iommufd_pt", 16,
            [("Argsz", "argsz", 0), ("Flags", "flags", 4), ("PageTableId", "pt_id", 8), ("Pasid", "pasid", 12)]),
        new(typeof(VfioDeviceDetachIommufdPt), "vfio", "vfio_device_detach_iommufd_pt", 12,
            [("Argsz", "argsz", 0), ("Flags", "flags", 4), ("Pasid", "pasid", 8)]),
        new(typeof(VfioDeviceIoEventFd), "vfio", "vfio_device_ioeventfd", 32,
            [("Argsz", "argsz", 0), ("Flags", "flags", 4), ("Offset", "offset", 8), ("Data", "data", 16), ("Descriptor", "fd", 24),
             ("Reserved", "reserved", 28)]),
        new(typeof(VfioGroupStatus), "vfio", "vfio_group_status", 8, [("Argsz", "argsz", 0), ("Flags", "flags", 4)]),
        new(typeof(VfioInfoCapHeader), "vfio", "vfio_info_cap_header", 8,
            [("Id", "id", 0), ("Version", "version", 2), ("Next", "next", 4)]),
        new(typeof(VfioIommuType1Info), "vfio", "vfio_iommu_type1_info", 24,
            [("Argsz", "argsz", 0), ("Flags", "flags", 4), ("IovaPageSizes", "iova_pgsizes", 8), ("CapOffset", "cap_offset", 16),
             ("Pad", "pad", 20)]),
        new(typeof(VfioIovaRange), "vfio", "vfio_iova_range", 16, [("Start", "start", 0), ("End", "end", 8)]),
        new(typeof(VfioIommuType1DmaMap), "vfio", "vfio_iommu_type1_dma_map", 32,
            [("Argsz", "argsz", 0), ("Flags", "flags", 4), ("Vaddr", "vaddr", 8), ("Iova", "iova", 16), ("Size", "size", 24)]),
        new(typeof(VfioIommuType1DmaUnmap), "vfio", "vfio_iommu_type1_dma_unmap", 24,
            [("Argsz", "argsz", 0), ("Flags", "flags", 4), ("Iova", "iova", 8), ("Size", "size", 16)]),
        .. HardwareLayouts,
    ];

    // Every call of 7.2 that we name, by its C name.
    private static readonly (string Header, string Name, uint Number)[] s_requests =
    [
        ("iommufd", "IOMMU_DESTROY", IommufdRequests.Destroy), ("iommufd", "IOMMU_IOAS_ALLOC", IommufdRequests.IoasAlloc),
        ("iommufd", "IOMMU_IOAS_ALLOW_IOVAS", IommufdRequests.IoasAllowIovas),
        ("iommufd", "IOMMU_IOAS_COPY", IommufdRequests.IoasCopy),
        ("iommufd", "IOMMU_IOAS_IOVA_RANGES", IommufdRequests.IoasIovaRanges),
        ("iommufd", "IOMMU_IOAS_MAP", IommufdRequests.IoasMap), ("iommufd", "IOMMU_IOAS_UNMAP", IommufdRequests.IoasUnmap),
        ("iommufd", "IOMMU_OPTION", IommufdRequests.Option), ("iommufd", "IOMMU_VFIO_IOAS", IommufdRequests.VfioIoas),
        ("iommufd", "IOMMU_HWPT_ALLOC", IommufdRequests.HwptAlloc), ("iommufd", "IOMMU_GET_HW_INFO", IommufdRequests.GetHwInfo),
        ("vfio", "VFIO_GET_API_VERSION", VfioRequests.GetApiVersion),
        ("vfio", "VFIO_CHECK_EXTENSION", VfioRequests.CheckExtension), ("vfio", "VFIO_SET_IOMMU", VfioRequests.SetIommu),
        ("vfio", "VFIO_GROUP_GET_STATUS", VfioRequests.GroupGetStatus),
        ("vfio", "VFIO_GROUP_SET_CONTAINER", VfioRequests.GroupSetContainer),
        ("vfio", "VFIO_GROUP_UNSET_CONTAINER", VfioRequests.GroupUnsetContainer),
        ("vfio", "VFIO_GROUP_GET_DEVICE_FD", VfioRequests.GroupGetDeviceFd),
        ("vfio", "VFIO_DEVICE_GET_INFO", VfioRequests.DeviceGetInfo),
        ("vfio", "VFIO_DEVICE_RESET", VfioRequests.DeviceReset), ("vfio", "VFIO_IOMMU_GET_INFO", VfioRequests.IommuGetInfo),
        ("vfio", "VFIO_IOMMU_MAP_DMA", VfioRequests.IommuMapDma), ("vfio", "VFIO_IOMMU_UNMAP_DMA", VfioRequests.IommuUnmapDma),
        ("vfio", "VFIO_DEVICE_IOEVENTFD", VfioRequests.DeviceIoEventFd),
        ("vfio", "VFIO_IOMMU_ENABLE", VfioRequests.IommuEnable), ("vfio", "VFIO_IOMMU_DISABLE", VfioRequests.IommuDisable),
        ("vfio", "VFIO_IOMMU_DIRTY_PAGES", VfioRequests.IommuDirtyPages),
        ("vfio", "VFIO_DEVICE_BIND_IOMMUFD", VfioRequests.DeviceBindIommufd),
        ("vfio", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", VfioRequests.DeviceAttachIommufdPt),
        ("vfio", "VFIO_DEVICE_DETACH_IOMMUFD_PT", VfioRequests.DeviceDetachIommufdPt),
    ];

    [Fact]
    public void Structures_have_the_size_and_every_field_the_offset_of_the_C_headers()
    {
        foreach (Layout layout in s_layouts)
        {
            Marshal.SizeOf(layout.Type).ShouldBe(layout.Size, layout.Struct);
            FieldInfo[] fields = layout.Type.GetFields(BindingFlags.Public | BindingFlags.Instance);
            fields.Select(static field => field.Name).ShouldBe(layout.Fields.Select(static field => field.Field), layout.Struct);
            foreach ((string field, string name, int offset) in layout.Fields)
            {
                layout.Type.GetField(field)!.GetCustomAttribute<FieldOffsetAttribute>()!.Value
                    .ShouldBe(offset, $"{layout.Struct}.{name}");
            }
        }
    }

    [Fact]
    public void Request_numbers_are_those_of_the_C_headers()
    {
        foreach ((string header, string name, uint number) in s_requests)
        {
            (number >> 8).ShouldBe((uint)';', name);
            ((number & 0xff) >= 0x80).ShouldBe(string.Equals(header, "iommufd", StringComparison.Ordinal), name);
        }

        IommufdRequests.HwQueueAlloc.ShouldBe(0x3b94u);
        IommufdRequests.IoasMap.ShouldBe(0x3b85u);
        VfioRequests.DeviceBindIommufd.ShouldBe(((uint)';' << 8) + 118);
        VfioRequests.DeviceDetachIommufdPt.ShouldBe(((uint)';' << 8) + 120);
        VfioRequests.IommuMapDma.ShouldBe(((uint)';' << 8) + 113);
    }

    [Fact]
    public async Task The_C_compiler_agrees_where_it_and_a_header_are_installed()
    {
        int compared = 0;
        foreach (string header in (string[])["iommufd", "vfio"])
        {
            foreach ((string expression, long expected) in Expressions(header))
            {
                _ = expected;
                compared += expression.Length > 0 ? 1 : 0;
            }

            if (!File.Exists($"/usr/include/linux/{header}.h") || await AskCompiler(header) is not { } answers)
            {
                continue;
            }

            foreach ((string expression, long expected) in Expressions(header))
            {
                if (answers.TryGetValue(expression, out long answer))
                {
                    answer.ShouldBe(expected, expression);
                }
            }

            answers.ShouldNotBeEmpty();
        }

        compared.ShouldBeGreaterThan(100);
    }

    private static IEnumerable<(string Expression, long Expected)> Expressions(string header)
    {
        foreach (Layout layout in s_layouts.Where(layout => string.Equals(layout.Header, header, StringComparison.Ordinal)))
        {
            foreach ((_, string name, int offset) in layout.Fields)
            {
                yield return ($"offsetof(struct {layout.Struct}, {name})", offset);
            }
        }

        foreach ((_, string name, uint number) in s_requests.Where(
            request => string.Equals(request.Header, header, StringComparison.Ordinal)))
        {
            yield return (name, number);
        }
    }

    // One object file for each expression would be slow: those that an older header does not know are found by a first pass
    // over the compiler's own error lines.
    private static async Task<Dictionary<string, long>?> AskCompiler(string header)
    {
        (string Expression, long Expected)[] wanted = [.. Expressions(header)];
        string directory = Directory.CreateTempSubdirectory("ioasis-layout").FullName;
        try
        {
            string source = Path.Combine(directory, "layout.c");
            string program = Path.Combine(directory, "layout");
            HashSet<int> unknown = [];
            for (int attempt = 0; attempt < 3; attempt++)
            {
                StringBuilder text = new();
                _ = text.Append("#include <stddef.h>\n#include <stdio.h>\n#include <linux/").Append(header)
                    .Append(".h>\nint main(void) {\n");
                for (int i = 0; i < wanted.Length; i++)
                {
                    _ = text.Append(unknown.Contains(i) ? "" : $"printf(\"%d %lld\\n\", {i}, (long long)({wanted[i].Expression}));")
                        .Append('\n');
                }

                await File.WriteAllTextAsync(source, text.Append("return 0; }\n").ToString(), TestContext.Current.CancellationToken);
                (int status, string errors) = await Run("gcc", ["-o", program, source]);
                if (status == 0)
                {
                    (_, string output) = await Run(program, []);
                    return output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
                        .Select(static line => line.Split(' '))
                        .ToDictionary(
                            part => wanted[int.Parse(part[0], CultureInfo.InvariantCulture)].Expression,
                            static part => long.Parse(part[1], CultureInfo.InvariantCulture),
                            StringComparer.Ordinal);
                }

                if (status < 0)
                {
                    return null;
                }

                foreach (string line in errors.Split('\n').Where(static line => line.Contains("error:", StringComparison.Ordinal)))
                {
                    string[] parts = line.Split(':');
                    if (parts.Length > 1 && int.TryParse(parts[1], CultureInfo.InvariantCulture, out int number))
                    {
                        _ = unknown.Add(number - 5);
                    }
                }
            }

            return null;
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static async Task<(int Status, string Output)> Run(string file, string[] arguments)
    {
        try
        {
            using Process process = new()
            {
                StartInfo = new(file, arguments) { UseShellExecute = false, RedirectStandardError = true, RedirectStandardOutput = true },
            };
            _ = process.Start();
            Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
            Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            await process.WaitForExitAsync(TestContext.Current.CancellationToken);
            return (process.ExitCode, await output + await errors);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // There is no such compiler.
            return (-1, string.Empty);
        }
    }
}
