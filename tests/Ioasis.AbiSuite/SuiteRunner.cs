using Ioasis.AbiSuite.Cases;

namespace Ioasis.AbiSuite;

/// <summary>Runs cases on a target.</summary>
public static class SuiteRunner
{
    /// <summary>Every case, in the order in which they are recorded.</summary>
    public static IReadOnlyList<AbiCase> Cases { get; } =
    [
        .. ContainerCases.All,
        .. ContainerInfoCases.All,
        .. ContainerMapCases.All,
        .. ContainerUnmapCases.All,
        .. GroupCases.All,
        .. DescriptorCases.All,
        .. DeviceCases.All,
        .. DeviceIoEventCases.All,
        .. EduCases.All,
        .. EduDriverCases.All,
        .. IommufdSizeCases.All,
        .. IommufdSpaceCases.All,
        .. IommufdMapCases.All,
        .. IommufdDeviceCases.All,
        .. Compatible(ContainerCases.All),
        .. Compatible(ContainerInfoCases.All),
        .. Compatible(ContainerMapCases.All),
        .. Compatible(ContainerUnmapCases.All),
    ];

    /// <summary>What a monitor asks of VT-d, recorded from guests whose IOMMUs differ.</summary>
    public static IReadOnlyList<AbiCase> VtdCases { get; } = [.. Ioasis.AbiSuite.Cases.VtdCases.All];

    /// <summary>Runs a case.</summary>
    public static CaseRecord Run(AbiCase @case, SuiteTarget target)
    {
        ArgumentNullException.ThrowIfNull(@case);
        CaseContext context = new(target);
        try
        {
            @case.Body(context);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            context.NoteText("exception", $"{e.GetType().Name}: {e.Message}");
        }
        finally
        {
            context.Finish();
        }

        return new(@case.Name, @case.Requirement, context.Notes);
    }

    // The conversations with a container, held with /dev/iommu in its place.
    private static IEnumerable<AbiCase> Compatible(IEnumerable<AbiCase> cases) => cases.Select(static @case => @case with
    {
        Name = "compatible-" + @case.Name,
        Needs = @case.Needs | CaseNeeds.Iommufd | CaseNeeds.Compatibility,
        Body = c =>
        {
            c.ContainerPath = "/dev/iommu";
            @case.Body(c);
        },
    });

    /// <summary>Whether a target has what a case needs.</summary>
    public static bool CanRun(AbiCase @case, SuiteTarget target) => (@case.Needs & ~target.Offers) == 0;
}
